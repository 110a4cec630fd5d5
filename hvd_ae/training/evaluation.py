"""The loss, and other metrics, over the whole validation set: every sample counts once, whichever rank holds it."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import Source
from hvd_ae.tasks.losses import is_any_present
from hvd_ae.tasks.task import Task, inputs_and_targets, may_be_missing, normalization_of, restored, specs_of


class Evaluator:
    """Means over samples of the loss (`val_loss`) and of a task's metrics; each rank takes a contiguous share of the samples.

    The loss is of what the model sees, metrics are of raw units.

    Args:
        strategy: whose synchronized result is evaluated.
        batch_size: samples in one pass through the model; the last pass may have fewer.
        in_memory: whether this rank's share may stay in memory, so that blocks are decoded in the first evaluation only.
    """

    def __init__(self, strategy: Strategy, source: Source, task: Task, comm: Communicator, batch_size: int,
                 in_memory: bool = False):
        self._source, self._task, self._comm, self._batch_size = source, task, comm, batch_size
        self._in_memory, self._held = in_memory and not source.reads_single_samples, None
        self._names = ["val_loss", *task.metrics]
        self._share = plan_evaluation(source.count, comm.world)

        fields, learner = source.fields, strategy.learner
        is_masked, raw = may_be_missing(task, fields), normalization_of(task.output_field, fields)
        metrics = [lambda targets, outputs, metric=metric: metric(restored(targets, raw), restored(outputs, raw))
                   for metric in task.metrics.values()]

        @tf.function(input_signature=[specs_of(task.fields, fields)])
        def sums(example):
            inputs, targets = inputs_and_targets(task, example, fields)
            counted = tf.reduce_sum(is_any_present(targets)) if is_masked else tf.shape(inputs)[0]
            counted = tf.cast(counted, tf.float64)
            losses = learner.losses_of(*strategy.result, strategy.result_counters, inputs, targets, metrics, counted)
            return tf.stack([*losses, counted])

        self._sums = sums

    def means(self) -> dict[str, float]:
        """Each metric's mean over all samples of all ranks (every rank calls it)."""
        *totals, count = self._comm.sum(self._sums_of(self._share_in_batches())).numpy()
        return {name: float(total / count) if count else math.nan for name, total in zip(self._names, totals)}

    def sums(self, indices: np.ndarray) -> np.ndarray:
        """The loss and each metric summed over these samples by this rank alone, and how many they are (float64).

        A sample of which all that is to be given back is missing is none.
        """
        return self._sums_of(self._source.read(indices[piece], self._task.fields) for piece in self._batches(len(indices)))

    def _sums_of(self, examples: Iterable[dict[str, np.ndarray]]) -> np.ndarray:
        sums = np.zeros(len(self._names) + 1)
        for example in examples:
            sums += self._sums(example).numpy()
        return sums

    def _share_in_batches(self) -> Iterator[dict[str, np.ndarray]]:
        if self._in_memory and self._held is None:
            self._held = self._source.read(self._share, self._task.fields)
        for piece in self._batches(len(self._share)):
            yield (self._source.read(self._share[piece], self._task.fields) if self._held is None
                   else {name: values[piece] for name, values in self._held.items()})

    def _batches(self, count: int) -> Iterator[slice]:
        return (slice(first, first + self._batch_size) for first in range(0, count, self._batch_size))
