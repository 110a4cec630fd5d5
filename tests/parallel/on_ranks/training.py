"""Trains without a run folder, on the engine of the job or, for comparison, on one process by itself."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training import execution
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.session import Session, steps_per_epoch, trainers

# 107 training samples are no multiple of 2 or 3 ranks, nor of a batch: parts and last steps are unequal
SETTINGS = {"data": "synthetic:118x4x5", "model": "shallow", "epochs": 3, "batch_size": 6, "optimizer": "sgd",
            "learning_rate": 0.5, "seed": 3}


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{**SETTINGS, **changes}).resolved()


def train(comm, **changes):
    """Train on every rank of `comm`; returns the session, which is closed, and the reports."""
    return _train(comm, settings(**changes))


def _train(comm, given):
    with Session(given, comm) as session:
        return session, session.run()


def reference(comm, **changes):
    """`train`, once for all tests that compare with the same training; they only look at what comes back."""
    return _train_once(comm, settings(**changes))


# the hardest of models, on parts that differ by rank, with a check every few steps
EVERYTHING = {"model": "tests.parallel.on_ranks.models:everything", "partition": "contiguous", "batch_size": 2,
              "optimizer": "adam", "learning_rate": 0.01, "check_every": 3}
OF_STRATEGY = {"sequential": {"sync_every": 1}}  # else no checkpoint falls between two steps of a turn


class Trained(NamedTuple):
    """What came of a training, and of its going on from a checkpoint, on the same ranks."""

    session: Session  # closed, after it has gone on
    reports: list  # of the run that nobody stopped
    state: dict  # by name, at that run's end
    later: list  # reports of what went on from a checkpoint within the second epoch and a period


def with_everything(comm, averaging, **changes) -> Trained:
    """What a strategy makes of the hardest of models, once for all tests that look at it.

    It goes on in the same session, from what its end has left: what a checkpoint lacks is then that of another step.
    """
    return _with_everything(comm, averaging, tuple(changes.items()))


@functools.cache
def _with_everything(comm, averaging, changes):
    given = settings(averaging=averaging, **{**EVERYTHING, **OF_STRATEGY.get(averaging, {}), **dict(changes)})
    step = steps_per_epoch(107, given.batch_size, trainers(given, comm.world).size) + 2
    folder = Path(broadcast_text(comm, tempfile.mkdtemp() if comm.world.is_root else ""))
    try:
        with (mock.patch.object(execution, "_STEPS_PER_CALL", 1),
              Session(given, comm, callbacks=[SavesAt(step, folder)]) as session):
            reports = session.run()
            state = {name: vector.numpy() for name, (vector, *_) in session.strategy.state.items()}
            found = restore_newest(session, folder)
            assert found.cursor.step == step and not found.bad
            return Trained(session, reports, state, session.run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class SavesAt(Callback):
    def __init__(self, step, folder):
        self._step, self._folder = step, folder

    def on_steps(self, session):
        if session.cursor.step == self._step:
            save(session, self._folder, keep=1)


def alone(**changes):
    """The same on one rank, in this process; its results are what all ranks together should reach."""
    return reference(_ALONE, **changes)


_ALONE = SingleCommunicator()
_train_once = functools.cache(_train)  # to trace a training's graphs takes most of a test's time


def parameters(session):
    return session.learner.vector.numpy()
