"""A user's own source, task and callback, given to a `Session`: what they come to is computed by NumPy beside it."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.data.epoch_plan import plan_epoch
from hvd_ae.data.partition import Partition
from hvd_ae.data.source import Field, Source, Splits
from hvd_ae.runtime.world import World
from hvd_ae.tasks.losses import squared_error
from hvd_ae.tasks.task import Task
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import checkpoints, save
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import assert_same_bytes, shared_folder
from tests.parallel.on_ranks.training import parameters, settings

pytestmark = pytest.mark.jobs("mpi-3", "single-1")

SIGNAL, ANSWER = (5,), (2, 3)
RATE, BATCH, ENOUGH = 0.5, 6, 2


class Measurements(Source):
    """Signals, and what was answered to them as bytes; a sample is made when it is read, from its number."""

    def __init__(self, first: int, count: int):
        self.name, self.count, self._first = "measurements", count, first
        self.fields = {"signal": Field(SIGNAL, np.dtype(np.float32), 1.0, 20),
                       "answer": Field(ANSWER, np.dtype(np.uint8), 1.0 / 255.0, 6)}

    def read(self, indices, fields):
        numbers = (np.asarray(indices) + self._first)[:, np.newaxis]
        values = {"signal": np.sin(numbers * (1.0 + np.arange(5))).astype(np.float32),
                  "answer": ((numbers * (7 + np.arange(6))) % 256).astype(np.uint8).reshape(-1, *ANSWER)}
        return {name: values[name] for name in fields}


class Answers(Task):
    """Supervised: the model is given signals, and compared with answers."""

    fields = ("answer", "signal")
    loss = staticmethod(squared_error)
    metrics = {"val_worst": lambda targets, outputs: tf.reduce_max(tf.abs(targets - outputs), axis=[1, 2])}

    def build_model(self, spec):
        assert spec["signal"].shape == SIGNAL
        return keras.Sequential([keras.Input(SIGNAL), keras.layers.Dense(6, kernel_initializer="zeros"),
                                 keras.layers.Reshape(spec["answer"].shape)])

    def select(self, example):
        return example["signal"], example["answer"]


class Enough(Callback):
    """Ends the training after so many epochs, those before a checkpoint counted; and saves after each."""

    name = "enough"

    def __init__(self, folder):
        self._folder, self.records = folder, []

    def on_epoch(self, session, record):
        self.records.append([record["epoch"], record["train_loss"], record["val_loss"], record["val_worst"]])
        save(session, self._folder, keep=5)
        return "these were enough" if len(self.records) == ENOUGH else None

    def state(self):
        return {"records": self.records}

    def restore(self, state):
        self.records = state["records"]


SOURCE = Splits(Measurements(0, 107), Measurements(107, 11))


def own_session(comm, callback):
    given = settings(epochs=5, batch_size=BATCH, learning_rate=RATE, loss="mse", partition="reshuffled")
    return Session(given, comm, SOURCE, Answers(), [callback])


def by_numpy(ranks: int) -> tuple[np.ndarray, list[list[float]]]:
    """The parameters of gradient descent on the batches of all ranks, float64, and the figures of each epoch."""
    weights, records = np.zeros((6, 6)), []  # the last row is the bias
    for epoch in range(ENOUGH):
        dealt = Partition("reshuffled", SOURCE.train.count, 3)
        plans = [plan_epoch(dealt, World(rank, ranks), BATCH, epoch) for rank in range(ranks)]
        losses = []
        for step in range(len(plans[0].batch_sizes)):
            indices = np.concatenate([of_step(plan, step) for plan in plans])
            inputs, targets = seen(SOURCE.train, indices)
            error = inputs @ weights - targets
            losses += np.mean(error**2, axis=1).tolist()
            weights -= RATE * 2 * inputs.T @ error / error.size
        inputs, targets = seen(SOURCE.validation, np.arange(SOURCE.validation.count))
        error = inputs @ weights - targets
        records.append([epoch + 1, np.mean(losses), np.mean(error**2), np.mean(np.abs(error).max(axis=1))])
        assert len(losses) == SOURCE.train.count
    return weights, records


def of_step(plan, step: int) -> np.ndarray:
    first = plan.batch_sizes[:step].sum()
    return plan.indices[first : first + plan.batch_sizes[step]]


def seen(source, indices) -> tuple[np.ndarray, np.ndarray]:
    read = source.read(indices, ["signal", "answer"])
    return np.column_stack([read["signal"], np.ones(len(indices))]), read["answer"].reshape(-1, 6) / 255.0


def test_a_supervised_task_with_a_source_and_a_callback_of_ones_own(comm, tmp_path_factory):
    """Ended by the callback after epoch 2; gone on from epoch 1, it ends there too, since its count has come back."""
    folder = shared_folder(comm, tmp_path_factory)
    whole = Enough(folder)
    with own_session(comm, whole) as session:
        reports = session.run()
    assert [report.epoch for report in reports] == [1, 2]
    assert session.done and session.stop_reason == "these were enough"
    assert_same_bytes(comm, session)
    weights, expected = by_numpy(comm.world.size)
    np.testing.assert_allclose(whole.records, expected, rtol=1e-5)
    np.testing.assert_allclose(parameters(session), weights.ravel(), atol=1e-5)
    assert np.abs(weights).max() > 0.1

    if comm.world.is_root:
        shutil.rmtree(checkpoints(folder)[0])  # that of epoch 2
    comm.barrier()
    resumed = Enough(folder)
    with own_session(comm, resumed) as again:
        found = restore_newest(again, folder)
        before = list(resumed.records)
        [report] = again.run()
    assert (found.cursor.epoch, before, report.epoch) == (1, whole.records[:1], 2)
    assert resumed.records == whole.records and again.stop_reason == "these were enough"
    np.testing.assert_array_equal(parameters(again), parameters(session))
