"""The run folder: whole files or none, numbers that any reader takes, pictures that are made of what there is."""

import json
import os
import warnings

import numpy as np
import pytest

from hvd_ae.api import train
from hvd_ae.collectives.communicator import Traffic
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.runs import folder as run_folder
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.folder import RunFolder, as_json, default_name, make_default_folder
from hvd_ae.runs.outcome import draw_pictures, summarize
from hvd_ae.runs.plots import first_two_components, mosaic, picture_shape, plot_latent
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.report import EpochReport

SETTINGS = TrainSettings().resolved()
REPORT = EpochReport(epoch=1, step=8, samples=58, train_loss=0.5, val_loss=0.25, val_mse=0.25, learning_rate=0.1, seconds=3.0,
                     timed_seconds=0.0, timed_samples=0, communication_seconds=0.5, bytes_sent_per_rank=7, bytes_decoded=1000,
                     input_seconds=0.25, drift=None, in_sync=True, of_strategy={"staleness_mean": 1.5})


def strict(text):
    """As JSON has it: Python's reader alone would take NaN and Infinity too."""
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_folder_that_holds_a_run_is_kept_unless_it_goes_on(tmp_path):
    folder = RunFolder(tmp_path / "a" / "run")
    with folder.held(resume=False):
        folder.begin(SETTINGS, step=0)
    assert folder.checkpoints.is_dir() and 'averaging = "gradient"' in folder.config.read_text()
    words = "run' holds a run already: go on with --resume, or use another --run-dir"
    with pytest.raises(Refused, match=words), folder.held(resume=False):
        raise AssertionError("held")
    with folder.held(resume=True):
        folder.begin(TrainSettings(resume=True, run_dir="run", epochs=77).resolved(), step=0)
    assert "epochs = 77" in folder.config.read_text()
    assert not (folder.path / "lock").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(Refused, match=r"file/run' cannot be written \(Not a directory\): use another --run-dir"):
        folder.held(resume=False).__enter__()


def test_a_folder_into_which_nothing_came_is_not_left_behind_and_a_users_own_is(tmp_path):
    (tmp_path / "own").mkdir()
    for name in ("own", "new"):
        with RunFolder(tmp_path / name).held(resume=False):
            assert (tmp_path / name / "lock").exists()
    assert os.listdir(tmp_path) == ["own"]


def test_nothing_is_written_by_a_job_that_has_lost_its_lock(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.held(resume=False):
        folder.begin(SETTINGS, step=0)
        folder.append_metrics({"step": 1})
        (tmp_path / "lock").unlink()
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        for write in (lambda: folder.begin(SETTINGS, 0), lambda: folder.append_metrics({"step": 2}),
                      lambda: folder.write_summary({})):
            with pytest.raises(NotWritten, match="has lost its lock"):
                write()
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_runs_that_begin_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "20260102-030405")
    names = [str(make_default_folder(TrainSettings()).path) for _ in range(3)]
    first = "runs/20260102-030405-digits-deep-gradient"
    assert names == [first, f"{first}-2", f"{first}-3"] and len(os.listdir("runs")) == 3


def test_a_writer_that_dies_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_atomically(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["summary.json"]


def test_what_is_not_finite_becomes_null():
    table = {"loss": float("nan"), "rate": float("inf"), "choices": [[0, -float("inf")], (1, 2.5)], "count": 3, "word": "x",
             "in_sync": True, "drift": None}
    assert strict(as_json(table)) == {"loss": None, "rate": None, "choices": [[0, None], [1, 2.5]], "count": 3, "word": "x",
                                      "in_sync": True, "drift": None}


def test_an_epochs_record_holds_what_the_strategy_says_beside_the_rest():
    record = REPORT.record()
    assert record["staleness_mean"] == 1.5 and "of_strategy" not in record
    assert record["samples_per_second"] is None  # nothing was timed, which is not the same as no speed


def test_a_summary_holds_null_where_nothing_was_measured():
    empty = summarize(SETTINGS, World(0, 3), 10, [], 2**62 + 1, Cursor(), 500)
    for name in ("train_loss", "val_loss", "val_mse", "seconds", "samples_per_second", "communication_seconds",
                 "bytes_sent_per_rank", "bytes_decoded", "input_seconds", "in_sync"):
        assert empty[name] is None
    assert empty["ranks"] == 3 and empty["weights_checksum"] == "4000000000000001"


def test_a_summary_adds_up_epochs_and_ends_with_the_last():
    records = [{**REPORT.record(), "timed_seconds": 2.0, "timed_samples": 30},
               {**REPORT.record(), "val_mse": 0.125, "timed_seconds": 1.0, "timed_samples": 60, "in_sync": None}]
    summary = summarize(SETTINGS, World(), 10, records, 5, Cursor(epoch=2, step=16, samples=116), 500)
    assert (summary["seconds"], summary["communication_seconds"], summary["bytes_sent_per_rank"]) == (6.0, 1.0, 14)
    assert summary["samples_per_second"] == 30.0  # 90 samples in 3 seconds, not the mean of 15 and 60
    assert (summary["data_bytes"], summary["bytes_decoded"], summary["input_seconds"]) == (500, 2000, 0.5)
    assert summary["val_mse"] == 0.125 and summary["in_sync"] is None
    assert summary["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("data, model, name", [
    ("fashion-mnist", "deep", "fashion-mnist-deep-gradient"),
    ("/a/b/mine.npy", "my.models:build", "mine-my.models.build-gradient"),
    ("synthetic:64x8", "shallow", "synthetic-64x8-shallow-gradient"),
    ("sims/run_*.npy", "deep", "run-deep-gradient"),
    ("a.npy,b.npy", "deep", "a.npy-b-deep-gradient"),
    ("cam.nc:T", "deep", "cam-deep-gradient"),
])
def test_a_run_without_a_folder_gets_one_named_by_what_it_is(data, model, name, monkeypatch):
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "20260102-030405")
    assert default_name(TrainSettings(data=data, model=model)) == f"runs/20260102-030405-{name}"


def test_traffic_of_an_epoch_is_a_difference():
    assert Traffic(5, 700, 2.5) - Traffic(2, 200, 0.5) == Traffic(3, 500, 2.0)


def alone(tmp_path, **given):
    return train(TrainSettings(data="synthetic:64x4x5", model="shallow", batch_size=8, epochs=2, collectives="single",
                               run_dir=str(tmp_path / "run"), **given))


def test_a_run_alone_leaves_everything_that_is_promised(tmp_path):
    result = alone(tmp_path)
    assert {path.name for path in result.run_dir.iterdir()} == {
        "config.toml", "metrics.jsonl", "summary.json", "model.keras", "encoder.keras", "decoder.keras", "checkpoints",
        "loss.png", "reconstructions.png", "latent.png", "about.json", "samples.npz", "report.html"}
    assert strict((result.run_dir / "summary.json").read_text()) == result.summary
    assert result.summary["samples"] == 2 * 58 and result.summary["in_sync"] is True
    for name in ("loss", "reconstructions", "latent"):
        assert (result.run_dir / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_diverges_ends_in_good_order_and_says_so(tmp_path):
    result = alone(tmp_path, optimizer="sgd", learning_rate=1e20, output_activation="linear")
    assert result.summary["val_mse"] is None and result.summary["train_loss"] is None
    for line in (result.run_dir / "metrics.jsonl").read_text().splitlines():
        assert strict(line)["val_mse"] is None
    assert strict((result.run_dir / "summary.json").read_text()) == result.summary
    assert not (result.run_dir / "latent.png").exists()  # no components of what is not finite


@pytest.mark.parametrize(("shape", "picture"), [
    ((784,), (28, 28)), ((8, 8), (8, 8)), ((32, 32, 3), (32, 32, 3)), ((28, 28, 1), (28, 28, 1)),
    ((10,), None), ((1,), None), ((4, 4, 2), None), ((2, 2, 2, 2), None),
])
def test_which_samples_are_pictures(shape, picture):
    assert picture_shape(shape) == picture


def test_samples_that_are_no_pictures_are_drawn_as_lines(tmp_path):
    from hvd_ae.data.load import load

    source = load("synthetic:40x7", World())
    draw_pictures(task_of(SETTINGS), {"model": lambda values, training: values}, source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["reconstructions.png"]


@pytest.mark.parametrize("shape", [(30, 4), (30, 1), (2, 5), (20, 50), (1, 3)])
def test_components_are_those_of_scikit_learn(shape):
    from sklearn.decomposition import PCA

    codes = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.arange(1, shape[1] + 1) + 3
    points, share = first_two_components(codes)
    kept = min(2, shape[0] - 1, shape[1])
    theirs = PCA(kept).fit(codes.astype(np.float64)) if kept else None
    expected = np.pad(theirs.transform(codes), ((0, 0), (0, 2 - kept))) if kept else np.zeros((len(codes), 2))
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(share, np.pad(theirs.explained_variance_ratio_, (0, 2 - kept)) if kept else 0.0, atol=1e-6)


def test_codes_without_labels_are_drawn_without_a_word(tmp_path):
    """One more warning at the end of every run on data of one's own would hide the one that matters."""
    codes = np.random.default_rng(0).normal(size=(30, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_latent(codes, None, tmp_path / "without.png")
        plot_latent(codes, np.arange(30), tmp_path / "many.png")
        plot_latent(codes, np.arange(30) % 3, tmp_path / "few.png")


def test_records_that_were_damaged_are_missed_aloud_and_cost_no_others(tmp_path):
    """A resumed run used to drop all records after the first that could not be read, or to end in a traceback."""
    folder = RunFolder(tmp_path)
    lines = [json.dumps({"epoch": epoch, "step": 10 * epoch, "val_mse": 1 / epoch}).encode() for epoch in range(1, 8)]
    damaged = [lines[0], b"\xff" + lines[1][1:], lines[2], lines[3].replace(b"step", b"stfp"), b"", b"[1, 2]", *lines[5:],
               b'{"ep']
    folder.metrics.write_bytes(b"\n".join(damaged))
    assert [record["epoch"] for record in folder.read_metrics()] == [1, 3, 6, 7]
    said = folder.begin(SETTINGS, step=60, epochs=6)
    assert said == (f"{folder.metrics} lacks 3 of 6 epochs (2, 4, 5): damaged or removed, the run goes on without them; as it "
                    f"was it is kept as {tmp_path}/metrics-damaged.jsonl")
    assert [record["epoch"] for record in folder.read_metrics()] == [1, 3, 6]
    assert (tmp_path / "metrics-damaged.jsonl").read_bytes() == b"\n".join(damaged)


def test_a_record_that_a_crash_cut_short_is_no_damage(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"epoch": 1, "step": 10}\n{"epoch": 2, "st')
    assert folder.begin(SETTINGS, step=10, epochs=1) is None
    assert [record["epoch"] for record in folder.read_metrics()] == [1]
    folder.metrics.unlink()
    assert folder.begin(SETTINGS, step=10, epochs=1) == (f"{folder.metrics} lacks 1 of 1 epochs (1): damaged or removed, the "
                                                         "run goes on without them")
    assert folder.begin(SETTINGS, step=0, epochs=0) is None


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_pictures_stand_beside_each_other_on_white(channels):
    images = np.random.default_rng(0).uniform(size=(4, 5, 24, *channels))
    drawn = mosaic(images)
    assert drawn.shape == (5 + 2, 4 * (24 + 2), *(channels if channels == (3,) else ()))
    for number, image in enumerate(images):
        np.testing.assert_array_equal(drawn[:5, number * 26 : number * 26 + 24], image.squeeze())
    assert (drawn[5:] == 1.0).all() and (drawn[:, 24:26] == 1.0).all()
