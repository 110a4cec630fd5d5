"""Trains without a run folder, on the engine of the job or, for comparison, on one process by itself."""

import functools

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.session import Session

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


def with_everything(comm, strategy):
    """What a strategy makes of the hardest of models."""
    return reference(comm, averaging=strategy, **EVERYTHING)


def alone(**changes):
    """The same on one rank, in this process; its results are what all ranks together should reach."""
    return reference(_ALONE, **changes)


_ALONE = SingleCommunicator()
_train_once = functools.cache(_train)  # to trace a training's graphs takes most of a test's time


def parameters(session):
    return session.learner.vector.numpy()
