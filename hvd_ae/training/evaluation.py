"""The loss, and other measures, over the whole validation set: every sample counts once, whichever rank holds it."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.samples import Samples


class Evaluator:
    """Means over samples of the loss (`val_loss`) and of other measures; each rank takes a contiguous share of the rows.

    Args:
        way: whose settled result is judged.
        measures: by name, functions from (targets, outputs) to one number a row.
        batch_size: rows in one pass through the model; the last pass may have fewer.
        of_labels: whether the targets are the samples' labels, and not the samples.
    """

    def __init__(self, strategy: Strategy, samples: Samples, measures: Mapping[str, Callable], comm: Communicator,
                 batch_size: int, of_labels: bool = False):
        self._samples, self._collectives, self._batch_size = samples, comm, batch_size
        self._names = ["val_loss", *measures]
        self._share = plan_evaluation(samples.count, comm.world)
        scale = tf.constant(samples.scale, tf.float32)

        rows = tf.TensorSpec([None, *samples.sample_shape], samples.row_dtype)

        @tf.function(input_signature=[rows, *([tf.TensorSpec([None], tf.int64)] if of_labels else [])])
        def sums(inputs, labels=None):
            values = tf.cast(inputs, tf.float32) * scale
            targets = values if labels is None else labels
            return tf.stack(strategy.replica.losses_of(*strategy.result, strategy.result_counters, values, targets, measures.values()))

        self._sums, self._of_labels = sums, of_labels

    def means(self) -> dict[str, float]:
        """Each measure's mean over all samples of all ranks (every rank calls it)."""
        sums = self.sums(self._share)
        *totals, count = self._collectives.sum(np.append(sums, len(self._share))).numpy()
        return {name: float(total / count) for name, total in zip(self._names, totals)}

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """The loss and each measure, summed over these rows by this rank alone (float64)."""
        sums = np.zeros(len(self._names))
        for first in range(0, len(rows), self._batch_size):
            part = rows[first : first + self._batch_size]
            labels = [self._samples.labels[part]] if self._of_labels else []
            sums += self._sums(self._samples.rows(part), *labels).numpy()
        return sums
