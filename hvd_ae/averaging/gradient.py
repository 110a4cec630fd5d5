"""Averaging gradients at every step: one large batch, spread over the ranks."""

import tensorflow as tf

from hvd_ae.averaging.way import Way
from hvd_ae.models.replica import Batch


class Gradient(Way):
    """Synchronous data-parallel SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).

    The optimizer's slots see the same gradients everywhere, so they stay the same. There is no incomplete period.
    The gradient's divisor is the rows of all ranks, so the ranks' gradients add up to the mean over samples.
    """

    def step(self, batch: Batch) -> tf.Tensor:
        gradient, loss_sum = self.replica.gradient(batch, divisor=batch.global_rows)
        self.replica.update(self.collectives.sum(gradient))
        return loss_sum

    @tf.function
    def settle(self) -> None:
        self.average(self.replica.buffers)
