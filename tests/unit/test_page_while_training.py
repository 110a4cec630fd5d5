"""The page while a run goes on: up to date, out of the training's way, and never its end."""

import math
import shlex
import threading
import time
from types import SimpleNamespace

from hvd_ae.api import train
from hvd_ae.cli import main
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.page.about import command
from hvd_ae.runs.page.callback import Page
from hvd_ae.settings.parser import parse
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.callbacks import Callback
from tests.runs import run_folder


class Looks(Callback):
    """Reads what the page says while the run goes on."""

    def on_epoch(self, session, record):
        path = session.settings.run_dir
        for thread in threading.enumerate():
            if thread.name == "page":
                thread.join()
        self.seen = page_of(path)


def page_of(folder):
    return (RunFolder(folder).path / "report.html").read_text()


def alone(path, **given):
    looks = Looks()
    result = train(TrainSettings(**{"data": "synthetic:64x4x5", "model": "shallow", "batch_size": 8, "epochs": 2,
                                    "collectives": "single", "run_dir": str(path), **given}), callbacks=[looks])
    return looks.seen, result


def test_the_page_is_there_while_a_run_goes_on_and_cannot_end_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("hvd_ae.runs.page.callback._SHARE", 1e9)  # epochs are short here
    during, result = alone(tmp_path / "run")
    assert "training</span>" in during and "1 of 2 epochs" in during and "sample 0, reconstruction" in during
    at_end = page_of(tmp_path / "run")
    assert "finished</span>" in at_end and result.summary["weights_checksum"] in at_end and "Codes in their" in at_end
    record = RunFolder(tmp_path / "run").read_metrics()[-1]
    assert record["of_ranks"]["seconds"] == [round(record["seconds"], 4)] and record["of_ranks"]["memory"][0] > 1e7

    def full(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr("hvd_ae.runs.page.callback.write_page", full)
    alone(tmp_path / "run", resume=True, epochs=3)
    said = [record.message for record in caplog.records if (record.name, record.levelname) == ("hvd_ae", "WARNING")]
    assert said == [f"report.html is not up to date (OSError: no space): the training goes on, and `hvd-ae report "
                    f"{tmp_path / 'run'}` writes it anew"]
    assert main(["report", str(tmp_path / "run")]) == 0 and "3 of 3 epochs" not in at_end
    assert "3 of 3 epochs" in page_of(tmp_path / "run")


def test_a_page_is_begun_no_sooner_than_the_last_one_has_paid_for_itself(tmp_path):
    callback, written = Page(RunFolder(run_folder(tmp_path / "run"))), []
    callback._look_seconds = 1e9
    callback._begin = lambda: written.append(time.monotonic())
    session = SimpleNamespace(comm=SimpleNamespace(world=SimpleNamespace(is_root=True)))
    callback._write(is_live=True)
    took = callback._free_at - time.monotonic()
    callback.on_epoch(session, {"seconds": 1.0})
    assert written == [] and took > 0.2
    callback._free_at = 0.0
    callback.on_epoch(session, {"seconds": 1.0})
    assert len(written) == 1


def test_samples_that_cannot_be_drawn_end_no_training(tmp_path, monkeypatch, caplog):
    def fails(session):
        raise ValueError("this task draws only in training")

    monkeypatch.setattr("hvd_ae.runs.page.callback.look_meanwhile", fails)
    callback = Page(RunFolder(run_folder(tmp_path / "run")))
    callback._free_at = math.inf
    callback.on_epoch(SimpleNamespace(comm=SimpleNamespace(world=SimpleNamespace(is_root=True))), {"seconds": 1.0})
    assert "(ValueError: this task draws only in training): the training goes on" in caplog.text


def test_the_command_on_the_page_gives_the_same_settings():
    given = TrainSettings(data="a b.npy", averaging="parameter", learning_rate=0.01, missing="mean", resume=True,
                          run_dir="x", collectives="mpi").resolved()
    words = shlex.split(command(given, 4))
    assert words[:5] == ["mpirun", "-np", "4", "hvd-ae", "train"] and "--sync-every" not in words
    again = parse("hvd-ae train", TrainSettings, words[5:]).resolved()
    differing = {name for name in vars(given) if getattr(given, name) != getattr(again, name)}
    assert differing == {"resume", "run_dir", "collectives"}
