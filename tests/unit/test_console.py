"""What a person is told while a run goes on: a bar on a terminal, lines in a file, nothing where that is asked for."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from hvd_ae.api import train
from hvd_ae.errors import Refused
from hvd_ae.runs.console import Console, epoch_line
from hvd_ae.runs.progress import Pace, as_time
from hvd_ae.runtime.log import log
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.cursor import Cursor

BEGINNING = Cursor()
RECORD = {"epoch": 1, "train_loss": 0.5, "val_mse": 0.25, "samples_per_second": None, "drift": None, "in_sync": True}


def session(rank=0, trainers=2, cursor=BEGINNING, done=False, **given):
    """What a callback that shows progress looks at: 5 epochs of 1,000 samples, 10 a rank and step."""
    settings = TrainSettings(**{"epochs": 5, "batch_size": 10, **given})
    return SimpleNamespace(comm=SimpleNamespace(world=World(rank, 2)), settings=settings, cursor=cursor, done=done,
                           steps_per_epoch=50, trainers=World(0, trainers),
                           source=SimpleNamespace(train=SimpleNamespace(count=1000)))


def test_the_root_says_a_line_an_epoch_and_shows_no_bar_where_there_is_no_terminal(capsys, caplog):
    caplog.set_level("INFO", "hvd_ae")
    display = Console()
    display.on_steps(session())
    assert display.on_epoch(session(), {**RECORD, "samples_per_second": 12345.6, "drift": 0.0123}) is None
    display.on_epoch(session(), {**RECORD, "in_sync": None})
    display.on_epoch(session(), {**RECORD, "val_mse": None, "in_sync": None})  # a task without reconstructions
    display.on_epoch(session(rank=1), RECORD)
    assert caplog.messages == [
        "epoch 1/5  train_loss 0.50000  val_mse 0.25000  12,346 samples/s  drift 0.0123  in sync",
        "epoch 1/5  train_loss 0.50000  val_mse 0.25000  speed not measured",
        "epoch 1/5  train_loss 0.50000  speed not measured"]
    assert capsys.readouterr() == ("", "")


def test_a_task_without_a_mean_square_error_is_shown_without():
    record = {"epoch": 1, "train_loss": 0.5, "val_mse": None, "samples_per_second": None, "drift": None, "in_sync": False}
    assert epoch_line(record, 2) == "epoch 1/2  train_loss 0.50000  speed not measured"


def test_a_long_epoch_is_told_of_in_lines_that_become_seldom(caplog):
    caplog.set_level("INFO", "hvd_ae")
    now = [0.0]
    display = Console(clock=lambda: now[0])
    for second in range(3600):
        now[0] = float(second)
        samples = 500 + second  # one a second
        display.on_steps(session(cursor=Cursor(epoch=1, step=70, step_in_epoch=20, samples=samples, loss_sum=3.0,
                                               epoch_samples=200)))
        display.on_steps(session(rank=1, cursor=Cursor(samples=samples)))
    # by hand: 10 samples in 10 seconds; 510 of 5,000; 4,490 left; a mean of 3 over half of 200 samples
    assert caplog.messages[0] == ("epoch 2/5  step 20/50  10.2% of the job  loss 0.03 (rank 0)  1 samples/s  "
                                  "1 h 14 min left")
    assert 10 < len(caplog.messages) < 25
    alone = session(trainers=1, cursor=Cursor(epoch=1, samples=700, loss_sum=3.0, epoch_samples=200))
    now[0] = 7200.0
    display.on_steps(alone)
    assert "  loss 0.015  " in caplog.messages[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_bar_is_for_the_whole_job(monkeypatch, caplog):
    caplog.set_level("INFO", "hvd_ae")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    display = Console()
    display.on_steps(session(cursor=Cursor(epoch=1, samples=1000)))  # goes on from there
    display.on_epoch(session(), RECORD)
    display._bar.mininterval = 0
    display.on_steps(session(cursor=Cursor(epoch=2, samples=2500, loss_sum=5.0, epoch_samples=500)))
    shown = terminal.getvalue()
    assert "epoch 3/5:  50%" in shown and "2.50k/5.00k" in shown and "samples/s" in shown and "loss 0.02 (rank 0)" in shown
    assert "\n" not in shown and caplog.messages == [epoch_line(RECORD, 5)]
    display.on_steps(session(cursor=Cursor(epoch=4, samples=5000), done=True))
    assert display._bar is None and terminal.getvalue().endswith("\r")


@pytest.mark.parametrize("done, given, total", [(0, {}, 5000), (0, {"steps": 30}, 600), (400, {"steps": 30}, 600),
                                                (0, {"steps": 10**6}, 5000)])
def test_what_is_left_is_counted_in_samples_of_all_ranks(done, given, total):
    pace = Pace()
    at = session(cursor=Cursor(samples=done, step=done // 20), **given)
    assert pace.at(at, 3.0).seconds_left is None  # one moment has no speed
    at.cursor = Cursor(samples=done + 40, step=done // 20 + 2)
    progress = pace.at(at, 5.0)
    assert (progress.total, progress.samples_per_second) == (total, 20.0)
    assert progress.seconds_left == (total - done - 40) / 20


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3900, "1 h 05 min"),
                                           (90000, "1 d 01 h")])
def test_times_are_said_in_two_units(seconds, text):
    assert as_time(seconds) == text


@pytest.mark.parametrize("given, level", [({}, "INFO"), ({"quiet": True}, "WARNING"), ({"log_level": "warning"}, "WARNING"),
                                          ({"quiet": True, "log_level": "error"}, "ERROR")])
def test_a_run_says_as_much_as_it_is_asked_for(tmp_path, given, level):
    """By the level, which is set before anything is said; this run is refused right after."""
    before = log.level
    with pytest.raises(Refused, match="no picture"):
        train(TrainSettings(data="no picture", collectives="single", run_dir=str(tmp_path / "run"), **given))
    said, _ = log.level, log.setLevel(before)
    assert logging.getLevelName(said) == level
