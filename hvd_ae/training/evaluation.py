"""The loss, and other metrics, over the whole validation set: every sample counts once, whichever rank holds it."""

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import Source
from hvd_ae.tasks.task import Task, as_seen, specs_of


class Evaluator:
    """Means over samples of the loss (`val_loss`) and of a task's metrics; each rank takes a contiguous share of the samples.

    Args:
        strategy: whose synchronized result is evaluated.
        batch_size: samples in one pass through the model; the last pass may have fewer.
    """

    def __init__(self, strategy: Strategy, source: Source, task: Task, comm: Communicator, batch_size: int):
        self._source, self._task, self._comm, self._batch_size = source, task, comm, batch_size
        self._names = ["val_loss", *task.metrics]
        self._share = plan_evaluation(source.count, comm.world)

        @tf.function(input_signature=[specs_of(task.fields, source.fields)])
        def sums(example):
            inputs, targets = task.select(as_seen(example, source.fields))
            return tf.stack(strategy.learner.losses_of(*strategy.result, strategy.result_counters, inputs, targets,
                                                       task.metrics.values()))

        self._sums = sums

    def means(self) -> dict[str, float]:
        """Each metric's mean over all samples of all ranks (every rank calls it)."""
        sums = self.sums(self._share)
        *totals, count = self._comm.sum(np.append(sums, len(self._share))).numpy()
        return {name: float(total / count) for name, total in zip(self._names, totals)}

    def sums(self, indices: np.ndarray) -> np.ndarray:
        """The loss and each metric, summed over these samples by this rank alone (float64)."""
        sums = np.zeros(len(self._names))
        for first in range(0, len(indices), self._batch_size):
            sums += self._sums(self._source.read(indices[first : first + self._batch_size], self._task.fields)).numpy()
        return sums
