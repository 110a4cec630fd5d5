"""Trains without a run folder, on the engine of the job or, for comparison, on one process by itself."""

from hvd_ae.collectives.single import SingleEngine
from hvd_ae.config import TrainSettings
from hvd_ae.training.loop import Loop
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import prepare

# 107 training samples are no multiple of 2 or 3 ranks, nor of a batch: parts and last steps are unequal
SETTINGS = {"data": "synthetic:118x4x5", "model": "shallow", "epochs": 3, "batch_size": 6, "optimizer": "sgd",
            "learning_rate": 0.5, "seed": 3}


def train(collectives, **changes):
    """Train every rank of `collectives`; returns what was prepared, and the reports."""
    prepared = prepare(TrainSettings(**{**SETTINGS, **changes}).effective(), collectives)
    reports = [progress.report for progress in Loop(prepared, Position()).run() if progress.report]
    prepared.way.close()
    return prepared, reports


def alone(**changes):
    """The same on one rank, in this process; its results are what all ranks together should reach."""
    return train(SingleEngine(), **changes)


def parameters(prepared):
    return prepared.replica.vector.numpy()
