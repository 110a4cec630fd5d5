"""Trackers: what is recorded is what was trained, and none of them can stop or slow a training."""

import csv
import io
import json
import sqlite3
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.api import train
from hvd_ae.cli import main
from hvd_ae.errors import Refused
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.tracking import make_trackers
from hvd_ae.runs.tracking.csv_file import CsvFile
from hvd_ae.runs.tracking.tracker import Tracker
from hvd_ae.settings.train import TrainSettings


def alone(path, callbacks=(), **given):
    return train(TrainSettings(**{"data": "synthetic:64x4x5", "model": "shallow", "batch_size": 8, "epochs": 2,
                                  "collectives": "single", "run_dir": str(path), **given}), callbacks=callbacks)


class Hangs(Tracker):
    tool, silence, patience = "slow-tool", 0.0, 0.2

    def begin(self, settings, records):
        threading.Event().wait()

    add = finish = begin


class Fails(Hangs):
    tool = "broken-tool"

    def begin(self, settings, records):
        raise OSError("no route\nto host")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run that was tracked by everything, a tracker that hangs and one that fails among it, and then gone on with.

    Returns the folder, the warnings of the first part, and the seconds that its end waited.
    """
    path = tmp_path_factory.mktemp("tracked") / "run"
    warnings, folder = [], RunFolder(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hvd_ae.runs.tracking.tracker.log.warning", warnings.append)
        alone(path, [Hangs(folder), Fails(folder)], track="tensorboard, csv,csv")
    assert not [thread for thread in threading.enumerate() if thread.name in ("tracking by csv", "tracking by tensorboard")]
    alone(path, track="csv,tensorboard", resume=True, epochs=3)
    return folder, warnings


def test_a_tracker_that_hangs_or_fails_is_spoken_of_once_and_the_run_ends_well(tracked):
    folder, warnings = tracked
    assert sorted(warnings) == [
        f"track='broken-tool': the tracker has failed (no route to host); the training goes on without it, and `hvd-ae track "
        f"{folder.path} --to broken-tool` sends everything later",
        f"track='slow-tool': the tracker has not answered for 0 s; the training goes on without it, and `hvd-ae track "
        f"{folder.path} --to slow-tool` sends everything later"]
    assert folder.read_summary()["in_sync"] is True


def test_a_tracker_that_hangs_costs_no_more_than_the_patience_at_the_end(tmp_path):
    hangs, start = Hangs(RunFolder(tmp_path)), time.monotonic()
    hangs._queue.put(lambda: hangs.begin({}, []))
    hangs._thread = threading.Thread(target=hangs._work, daemon=True)
    hangs._thread.start()
    for _ in range(1000):
        hangs.on_epoch(None, {})
    assert time.monotonic() - start < 0.15
    hangs.on_stop(None)
    assert 0.2 <= time.monotonic() - start < 1.0


def test_the_csv_file_has_what_metrics_jsonl_has(tracked):
    folder, _ = tracked
    records = folder.read_metrics()
    rows = list(csv.DictReader(io.StringIO((folder.path / "metrics.csv").read_text())))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and len(records) == 3
    for row, record in zip(rows, records, strict=True):
        plain = {name: value for name, value in record.items() if not isinstance(value, (dict, list))}
        assert row == {name: "" if value is None else str(value) for name, value in plain.items()}


def test_a_number_that_only_later_epochs_have_gets_a_column_of_its_own(tmp_path):
    file = CsvFile(RunFolder(tmp_path))
    file.begin({}, [])
    file.add({"epoch": 1, "loss": 0.1 + 0.2})
    file.add({"epoch": 2, "loss": None, "words": "a, \"b\""})
    file.add({"epoch": 3, "of_ranks": {"seconds": [1.0]}})
    assert (tmp_path / "metrics.csv").read_text() == 'epoch,loss,words\n1,0.30000000000000004,\n2,,"a, ""b"""\n3,,\n'


def events(path):
    """By file, the oldest first, as TensorFlow reads them."""
    return [list(tf.compat.v1.train.summary_iterator(str(file))) for file in sorted(path.glob("*tfevents*"))]


def scalars(listed):
    return {(event.step, value.tag): value.simple_value for event in listed for value in event.summary.value
            if value.HasField("simple_value")}


def test_tensorboards_events_have_every_number_of_every_epoch(tracked):
    folder, _ = tracked
    first, second = events(folder.path / "tensorboard")
    records = folder.read_metrics()
    expected = {(record["step"], name): np.float32(value) for record in records for name, value in record.items()
                if isinstance(value, (int, float))}
    early = {key: value for key, value in expected.items() if key[0] <= records[1]["step"]}
    assert scalars(first) == early and ("val_mse" in {name for _, name in early})
    # the run went on: TensorBoard is told to forget these steps, and they come again with the new one
    assert scalars(second) == expected
    again = [event.step for event in second if event.session_log.status == tf.compat.v1.SessionLog.START]
    assert again == [records[0]["step"]] and not [event for event in first if event.session_log.status]
    [text] = [value for event in first for value in event.summary.value if value.metadata.plugin_data.plugin_name == "text"]
    assert b"| batch_size | 8 |" in text.tensor.string_val[0]
    pictures = {value.tag: value.image.encoded_image_string for event in first for value in event.summary.value
                if value.HasField("image")}
    assert pictures["latent"].startswith(b"\x89PNG") and set(pictures) == {"latent", "reconstructions"}


def test_a_finished_run_is_sent_by_the_command(tracked, capsys):
    folder, _ = tracked
    (folder.path / "metrics.csv").unlink()
    assert main(["track", str(folder.path), "--to", "csv"]) == 0
    assert capsys.readouterr().out == f"3 epochs of {folder.path} are tracked by csv\n"
    assert len((folder.path / "metrics.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("given, sentence", [
    (["nowhere", "--to", "csv"], "nowhere holds no config.toml: give the folder of a run"),
    (["{run}", "--to", "wandb"], "to='wandb' is not known: use one of tensorboard, mlflow, csv"),
])
def test_what_cannot_be_sent_is_refused_in_a_sentence(tracked, capsys, given, sentence):
    assert main(["track", *(word.format(run=tracked[0].path) for word in given)]) == 2
    assert capsys.readouterr().err.startswith(f"hvd-ae: {sentence}")


def test_a_tracker_that_cannot_be_had_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    with pytest.raises(Refused, match="track='wandb' is not known: use one of tensorboard, mlflow, csv"):
        alone(tmp_path / "run", track="csv,wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"track='mlflow' needs mlflow, which is not installed: pip install 'hvd_ae\[mlflow\]'"):
        make_trackers("mlflow", RunFolder(tmp_path))
    assert make_trackers(None, RunFolder(tmp_path)) == [] and not (tmp_path / "run").exists()


@pytest.mark.soak
def test_mlflow_has_the_run_in_a_database_of_the_run_folder(tmp_path, monkeypatch):
    """MLflow's client brings thirty packages, so that only an environment that has it shows this."""
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere.db"
    alone(run, track="mlflow")
    alone(run, track="mlflow", resume=True, epochs=3)
    folder = RunFolder(run)
    records = folder.read_metrics()
    assert_tracked(run / "mlflow.db", records)
    before = (run / "mlflow.db").read_bytes()
    assert main(["track", str(run), "--to", "mlflow"]) == 0  # again: nothing comes twice
    assert_tracked(run / "mlflow.db", records)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    monkeypatch.chdir(tmp_path)
    assert main(["track", str(run), "--to", "mlflow"]) == 0
    assert_tracked(elsewhere, records)
    assert before and set(json.loads((run / "mlflow.json").read_text())) == {f"sqlite:///{run / 'mlflow.db'}",
                                                                            f"sqlite:///{elsewhere}"}


def assert_tracked(database, records):
    """As SQLite has it, not by way of MLflow."""
    with sqlite3.connect(database) as connection:
        [(run, status)] = connection.execute("select run_uuid, status from runs").fetchall()
        metrics = connection.execute("select step, key, value from metrics").fetchall()
        params = dict(connection.execute("select key, value from params").fetchall())
    expected = {(record["step"], name): float(value) for record in records for name, value in record.items()
                if isinstance(value, (int, float))}
    assert status == "FINISHED" and {(step, name): value for step, name, value in metrics} == expected
    assert len(metrics) == len(expected) and params["batch_size"] == "8" and run
