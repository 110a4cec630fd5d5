"""Averaging parameters every H steps while the ranks train on: a slow link costs nothing as long as H steps take longer."""

import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts
from hvd_ae.averaging.periodic import Periodic
from hvd_ae.models.state import Kind


class Overlapped(Periodic):
    """CoCoD-SGD (Shen et al. 2019, https://arxiv.org/abs/1906.12043): `parameter` whose averages come a period late.

    At the end of a period each rank takes over the average that was begun a period ago, adds what it has moved itself
    since then, and begins the next average with where it is now. Ranks weigh the samples of the period that they send.
    They hold the same only once they have synchronized: then the average that is under way is waited for, and what was
    trained since it was begun is averaged too. Optimizer state is each rank's own.

    The sum is made by a thread through MPI, whichever engine makes the others.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER, Kind.COUNT})

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.period = None
        self.async_sum = comm.async_sum()
        self.sent = tf.Variable(tf.zeros_like(learner.vector), name="sent", trainable=False)
        self.sent_weight = tf.Variable(0.0, name="sent_weight", trainable=False)
        self.samples_sent = tf.Variable(tf.zeros([2], tf.int64), name="samples_sent", trainable=False)  # since then
        self.under_way = tf.Variable(False, name="under_way", trainable=False)

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        return {**super().exact_state, "sent": self.sent, "sent_weight": self.sent_weight, "samples_sent": self.samples_sent,
                "under_way": self.under_way}

    def begin_epoch(self, epoch: int) -> None:
        """A run that goes on from a checkpoint begins anew the average that was under way."""
        if bool(self.under_way) and not self.async_sum.under_way:
            self.async_sum.begin((self.sent_weight * self.sent).numpy())

    def close(self) -> None:
        self.comm.free_beside(self.async_sum)

    def average_period(self) -> None:
        self._take_over()
        self._send()

    @tf.function
    def synchronize(self) -> None:
        self._take_over()
        weight, trained = self._weight_of_period()
        if trained:
            self.learner.vector.assign(self.comm.sum(weight * self.learner.vector))
            self.learner.constrain(self.learner.vector)
        self.synchronize_state()
        self.samples_sent.assign([0, 0])
        self.steps_since.assign(0)

    def _take_over(self) -> None:
        """The average that is under way, if there is one, and what this rank has moved since it was begun."""
        if self.under_way:
            average = tf.ensure_shape(tf.numpy_function(self.async_sum.end, [], tf.float32), self.sent.shape)
            self.add_drift(self.sent, average)
            self.learner.vector.assign(average + (self.learner.vector - self.sent))
            self.learner.constrain(self.learner.vector)
            self.under_way.assign(False)

    def _send(self) -> None:
        """Begin to average where this rank is now, where any rank has trained."""
        weight, trained = self._weight_of_period()
        if trained:
            self.sent.assign(self.learner.vector)
            self.sent_weight.assign(weight)
            tf.numpy_function(self.async_sum.begin, [weight * self.sent], tf.bool)
            self.samples_sent.assign(self.learner.samples_since_sync)
            self.under_way.assign(True)

    def _weight_of_period(self) -> tuple[tf.Tensor, tf.Tensor]:
        return self.weight(self.learner.samples_since_sync - self.samples_sent)

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        """Of an average only what takes longer than a period is seen."""
        step, seconds, wait = Periodic.cost(job, ranks, every)
        return step, max(0.0, seconds - step), wait
