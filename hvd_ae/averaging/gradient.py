"""Averaging gradients at every step: one large batch, spread over the ranks."""

import tensorflow as tf

from hvd_ae.averaging.compression import compressed_sum
from hvd_ae.averaging.cost import Job, Parts, all_reduce_everywhere, slowest
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.learner import Batch


class Gradient(Strategy):
    """Synchronous data-parallel SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).

    The gradient's divisor is the samples of all ranks, so the ranks' gradients add up to the mean over samples, however
    many samples each has. The optimizer's state sees the same gradients everywhere, so it stays the same.

    With `accumulate` K the gradients of K steps are added up before they are reduced and applied, as one batch K times
    as large; an evaluation or a checkpoint applies what has come together by then. `clip_norm` bounds the norm of the
    averaged gradient, over all parameters. `compression` sends 16 bits a number (see `compression.py`). With `buckets` K the
    gradient is cut between layers, and each piece is reduced while the backward pass goes on with the layers before it
    (Li et al. 2020, https://arxiv.org/abs/2006.15704, section 3.2).
    """

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.accumulate = settings.accumulate or 1
        self.clip_norm = settings.clip_norm
        self.compression = settings.compression or "none"
        self.buckets = settings.buckets or 1
        self.period = self.accumulate
        if self.accumulate > 1:
            self.accumulated = tf.Variable(tf.zeros_like(learner.vector), name="accumulated", trainable=False)
            self.samples_accumulated = tf.Variable(0, name="samples_accumulated", trainable=False)
            self.steps_accumulated = tf.Variable(0, name="steps_accumulated", trainable=False)

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        if self.accumulate == 1:
            return super().exact_state
        return {**super().exact_state, "accumulated": self.accumulated, "samples_accumulated": self.samples_accumulated,
                "steps_accumulated": self.steps_accumulated}

    def step(self, batch: Batch) -> tf.Tensor:
        if self.accumulate == 1:
            gradient, loss_sum = self.learner.gradient_in_buckets(batch, batch.global_size, self.buckets)
            self.reduce_and_update(*gradient)
            return loss_sum
        gradient, loss_sum = self.learner.gradient(batch, divisor=tf.constant(1))
        self.accumulated.assign_add(gradient)
        self.samples_accumulated.assign_add(batch.global_size)
        self.steps_accumulated.assign_add(1)
        if self.steps_accumulated >= self.accumulate:
            self._apply_accumulated()
        return loss_sum

    def _apply_accumulated(self) -> None:
        self.reduce_and_update(self.accumulated / tf.cast(self.samples_accumulated, tf.float32))
        self.accumulated.assign(tf.zeros_like(self.accumulated))
        self.samples_accumulated.assign(0)
        self.steps_accumulated.assign(0)

    @tf.autograph.experimental.do_not_convert
    def reduce_and_update(self, *buckets: tf.Tensor) -> None:
        """The mean gradient over samples, from each rank's part of it, and one step of the optimizer."""
        reduced: list[tf.Tensor] = []
        for bucket in reversed(buckets):  # in the order in which the backward pass has them, the same on all ranks
            with tf.control_dependencies(reduced[:1]):
                reduced.insert(0, compressed_sum(self.comm, tf.identity(bucket), self.compression))
        gradient = tf.concat(reduced, axis=0) if len(reduced) > 1 else reduced[0]
        self.learner.update(self.clipped(gradient, tf.reduce_sum(tf.square(gradient))))

    def clipped(self, gradient: tf.Tensor, square: tf.Tensor) -> tf.Tensor:
        """The gradient, shortened where the norm whose square is given exceeds `clip_norm`."""
        if self.clip_norm is None:
            return gradient
        return gradient * tf.minimum(1.0, tf.math.divide_no_nan(self.clip_norm, tf.sqrt(square)))

    @tf.function
    def synchronize(self) -> None:
        if self.accumulate > 1 and self.steps_accumulated > 0:
            self._apply_accumulated()
        self.synchronize_state()

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step, all_reduce_everywhere(job, ranks), job.spread * slowest(ranks)
