"""Losses over the whole validation set: every sample counts once, whichever rank holds it."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.way import Way
from hvd_ae.collectives.engine import Engine
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.samples import Samples


class Evaluator:
    """Means over samples of several losses; each rank takes a contiguous share of the rows.

    Args:
        way: whose settled result is judged.
        losses: by name, functions from (targets, outputs) to one number a row.
        batch_size: rows in one pass through the model; the last pass may have fewer.
    """

    def __init__(self, way: Way, samples: Samples, losses: Mapping[str, Callable], collectives: Engine,
                 batch_size: int):
        self._samples, self._collectives, self._batch_size = samples, collectives, batch_size
        self._names = list(losses)
        self._share = plan_evaluation(samples.count, collectives.world)
        scale = tf.constant(samples.scale, tf.float32)

        @tf.function(input_signature=[tf.TensorSpec([None, *samples.sample_shape], samples.row_dtype)])
        def sums(inputs):
            return tf.stack(way.replica.losses_of(*way.result, tf.cast(inputs, tf.float32) * scale, losses.values()))

        self._sums = sums

    def means(self) -> dict[str, float]:
        """Each loss's mean over all samples of all ranks (every rank calls it)."""
        sums = np.zeros(len(self._names))
        for first in range(0, len(self._share), self._batch_size):
            sums += self._sums(self._samples.rows(self._share[first : first + self._batch_size])).numpy()
        *totals, count = self._collectives.sum(np.append(sums, len(self._share))).numpy()
        return {name: float(total / count) for name, total in zip(self._names, totals)}
