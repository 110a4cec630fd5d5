"""Trains without a run folder, on the engine of the job or, for comparison, on one process by itself."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training import execution
from hvd_ae.training.callbacks import Callback
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


def with_everything(comm, averaging, **changes):
    """What a strategy makes of the hardest of models, once for all tests that look at it.

    Returns:
        The session, which is closed, its reports, and a folder with a checkpoint from within the second epoch and a period.
    """
    return _with_everything(comm, averaging, tuple(changes.items()))


@functools.cache
def _with_everything(comm, averaging, changes):
    folder = Path(broadcast_text(comm, tempfile.mkdtemp() if comm.world.is_root else ""))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    given = settings(averaging=averaging, **{**EVERYTHING, **dict(changes)})
    step = steps_per_epoch(107, given.batch_size, trainers(given, comm.world).size) + 2
    with (mock.patch.object(execution, "_STEPS_PER_CALL", 1),
          Session(given, comm, callbacks=[SavesAt(step, folder)]) as session):
        return session, session.run(), folder


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
