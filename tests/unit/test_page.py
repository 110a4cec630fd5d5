"""The page of a run: everything that is known is on it, nothing breaks it, and it is one small file."""

import json
import re
import time

import numpy as np
import pytest

from hvd_ae.cli import main
from hvd_ae.runs.page.charts import Series, line_chart
from hvd_ae.runs.page.page import page, write_page
from hvd_ae.runs.page.read import read_run
from hvd_ae.runs.page.samples import Look, save_look, view
from hvd_ae.runs.page.sections import split_by_rank
from hvd_ae.runs.page.ticks import as_bytes, as_number, axis_of
from tests.runs import of_ranks, run_folder


def test_everything_that_is_known_is_on_the_page(tmp_path):
    text = page(read_run(run_folder(tmp_path / "run", averaging="parameter")))
    for words in ("finished", "parameter averaging every 16 steps on 2 ranks", "5 of 5 epochs", "503 samples/s",
                  "12,345 parameters", "5 epochs checked; after each epoch, and every 100 steps", "Loss over epochs",
                  "Loss over time", "Where each rank&#39;s time went in the last 4 epochs", "Learning rate",
                  "Most memory that a rank has held",
                  "Validation samples beside their reconstructions", "The worst of the first 60 validation samples",
                  "Codes in their first two principal components", "linear classifier on codes", "87.5%",
                  "mpirun -np 2 hvd-ae train --data digits", "1,000 training, 60 validation", "0123456789abcdef", "40ff",
                  "code (Dense)", np.__version__, "learning_rate", "1 MB"):
        assert words in text, words
    assert "Drift" not in text  # was not measured
    assert 'http-equiv="refresh"' not in text and 'http-equiv="refresh"' in page(read_run(tmp_path / "run"), is_live=True)


def test_every_picture_has_a_text_and_nothing_comes_from_elsewhere(tmp_path):
    text = page(read_run(run_folder(tmp_path / "run")))
    pictures, drawings = re.findall(r"<img [^>]*>", text), re.findall(r"<svg [^>]*>", text)
    assert len(pictures) == 32 and len(drawings) > 6
    assert all(re.search(r'alt="sample \d+, (original|reconstruction)"', picture) for picture in pictures)
    assert all(re.search(r'role="img"[^>]* aria-label="[^"]{20,}"', drawing) for drawing in drawings)
    assert all(re.search(r'src="data:image/png;base64,', picture) for picture in pictures)
    assert not re.search(r"(?:src|href)=.(?!data:)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_what_a_user_wrote_is_text_and_no_markup(tmp_path):
    evil = "<script>alert('x')</script>\"&.npy"
    folder = run_folder(tmp_path / "a<b>&\"c", name=evil)
    (folder / "score.json").write_text(json.dumps({
        "data": evil, "threshold": 0.5, "labels": {"roc_auc": 0.9375},
        "worst": [{"sample": 1234567, "score": 2.5, "features": [{"feature": evil, "share": 0.25}]}]}))
    (folder / "score.png").write_bytes(b"\x89PNG")
    text = page(read_run(folder))
    assert text.count("<script>") == 1 and "alert(" in text and "<b>" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)" in text and "(25%)" in text and "1234567" in text and "0.9375" in text
    assert 'alt="Histogram of the scores with their threshold" src="data:image/png;base64,iVBORw=="' in text


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "about.json", "samples.npz", "probe.json", "score.json"])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more", b"[1, 2]", b'{"codes": 3, "rank": "x"}'])
def test_what_is_missing_or_damaged_is_left_out(tmp_path, name, content):
    folder = run_folder(tmp_path / "run", epochs=2, samples=12)
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_bytes(content)
    text = page(read_run(folder))
    assert "What was run" in text and text.rstrip().endswith("</html>")
    assert ("No epoch has ended yet" in text) == (name == "metrics.jsonl")
    assert ("finished</span>" in text) and (">finished<" in text) == (name not in ("metrics.jsonl", "summary.json"))


@pytest.mark.parametrize("shape, kind", [((8, 8), "picture"), ((64, 64, 3), "picture"), ((300,), "lines"), ((200, 2), "lines"),
                                         ((20, 24, 28), "slices"), ((512, 512), "picture"), ((10**5,), "lines")])
def test_samples_of_any_shape_are_shown_within_a_megabyte(tmp_path, shape, kind):
    """And with more epochs and ranks than most runs have."""
    folder = run_folder(tmp_path / "run", shape, epochs=600, ranks=64, samples=20)
    with np.load(folder / "samples.npz") as saved:
        assert saved["kind"] == kind
    text = page(read_run(folder))
    assert len(text.encode()) < 1e6 and "worst of the first 20" in text


def test_views_show_the_middle_of_volumes_and_every_so_many_points():
    volume = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    _, slices = view(volume)
    np.testing.assert_array_equal(slices[0, 0, :4, :5], volume[0, 1])
    np.testing.assert_array_equal(slices[1, 2, :3, :4], volume[1, :, :, 2])
    assert np.isnan(slices[0, 0, 4:]).all()
    kind, lines = view(np.arange(2000, dtype=np.float32).reshape(1, 1000, 2))
    assert kind == "lines" and lines.shape == (1, 2, 334) and lines[0, 1, 1] == 7.0


def test_the_worst_samples_are_those_with_the_largest_errors(tmp_path):
    originals = np.zeros((30, 5), np.float32)
    originals[3, 2] = np.nan  # missing: counts nowhere
    reconstructions = np.sqrt(np.arange(30) * 7 % 30)[:, None].astype(np.float32) * np.ones((1, 5), np.float32)
    save_look(Look(originals, reconstructions, None, None), tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as saved:
        np.testing.assert_allclose(saved["worst_error"], np.arange(29, 21, -1), rtol=1e-6)
        assert [number * 7 % 30 for number in saved["worst_number"]] == list(range(29, 21, -1))
        np.testing.assert_allclose(saved["error"], np.arange(8) * 7 % 30, rtol=1e-6)


def test_time_is_split_as_it_was_measured():
    """By hand: the rank that communicates least waits for nobody."""
    records = [{"of_ranks": of_ranks([99.0, 99.0], [0.0, 0.0], [0.0, 0.0])},  # traced in it
               {"of_ranks": of_ranks([10.0, 10.0], [1.0, 2.0], [3.0, 1.0])},
               {"of_ranks": of_ranks([20.0, 20.0], [0.0, 0.0], [2.0, 5.0])}]
    ranks, parts, epochs = split_by_rank(records)
    assert (ranks, epochs) == ([0, 1], 2)
    assert dict(parts) == {"computing": [24.0, 22.0], "waiting for samples": [1.0, 2.0], "communicating": [3.0, 3.0],
                           "waiting for other ranks": [2.0, 3.0]}
    assert split_by_rank([{"epoch": 1}]) is None


@pytest.mark.parametrize("low, high", [(0.001, 0.2), (3.0, 4.0), (-7.0, 12.0), (5.0, 5.0), (0.0, 0.0), (1e-9, 1e9),
                                       (2.0, 2.1)])
@pytest.mark.parametrize("is_log", [True, False])
def test_an_axis_holds_its_values_and_its_ticks(low, high, is_log):
    axis = axis_of([low, high], is_log)
    assert 0 <= axis.place(low) <= axis.place(high) <= 1 and 1 <= len(axis.ticks) <= 9
    assert all(0 <= axis.place(tick) <= 1 for tick in axis.ticks) and list(axis.ticks) == sorted(axis.ticks)
    if axis.is_log:  # the same factor is the same distance
        assert axis.place(2 * low) - axis.place(low) == pytest.approx(axis.place(high) - axis.place(high / 2))


def test_numbers_are_short_and_true():
    assert [as_number(value) for value in (None, float("nan"), 0, 0.00123, 999, 1234, 12345, 2.5e6, 3.0e-9)] == [
        "–", "–", "0", "0.00123", "999", "1,234", "12.3k", "2.5M", "3e-09"]
    assert [as_bytes(value) for value in (None, 12, 1.5e6, 2e9)] == ["–", "12 bytes", "1.5 MB", "2 GB"]


def test_a_curve_has_a_gap_where_nothing_was_measured():
    drawn = line_chart("Loss", [Series("x", [1, 2, 3, 4], [1.0, None, float("inf"), 0.25])], "epoch", "loss")
    [path] = re.findall(r'class="curve[^"]*" d="([^"]*)"', drawn)
    assert path.count("M") == 2 and "L" not in path
    assert "x: from 1 to 0.25, lowest 0.25, highest 1" in drawn
    assert line_chart("Loss", [Series("x", [1], [None])], "epoch", "loss") == ""


def test_a_page_takes_less_than_a_tenth_of_a_second(tmp_path):
    """Of this process's own time, the first, in which templates are read, apart."""
    folder = run_folder(tmp_path / "run", epochs=100, samples=2000)
    seconds = []
    for _ in range(4):
        started = time.thread_time()
        write_page(folder)
        seconds.append(time.thread_time() - started)
    assert min(seconds[1:]) < 0.1


def test_several_runs_are_one_table_and_one_page(tmp_path, capsys, monkeypatch):
    folders = [str(run_folder(tmp_path / name, epochs=epochs, learning_rate=rate))
               for name, epochs, rate in (("a", 3, 0.001), ("b", 5, 0.01))]
    write_page(tmp_path / "a")
    assert main(["report", *folders, "--output", str(tmp_path / "both.html")]) == 0
    said = capsys.readouterr().out
    assert "| a | 2 | 3 | 30 | 0.3667 | 0.3667 | 0.3667 | 502 | 6 s | 25.0% | 3 MB | yes |" in said
    text = (tmp_path / "both.html").read_text()
    assert '<a href="a/report.html">a</a>' in text and "Validation loss over seconds of training" in text
    assert "<tr><td>learning_rate</td><td>0.001</td><td>0.01</td></tr>" in text and "<td>seed</td>" not in text
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["report", folders[1], "--open"]) == 0
    assert opened == [(tmp_path / "b" / "report.html").as_uri()]
    assert main(["report", folders[0], str(tmp_path / "nowhere")]) == 2
    assert "nowhere holds no config.toml" in capsys.readouterr().err
