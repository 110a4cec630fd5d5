"""What all strategies share in which ranks train alone for H steps and then meet."""

import math
from abc import abstractmethod

import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, all_reduce_everywhere, slowest
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.learner import Batch


class Periodic(Strategy):
    """Counts the steps of a period, and ends it after `sync_every`, or earlier where the ranks have to synchronize."""

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.sync_every = self.period = settings.sync_every
        self.steps_since = tf.Variable(0, name="steps_since", trainable=False)

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        return {**super().exact_state, "steps_since": self.steps_since}

    @property
    def steps_into_period(self) -> int:
        return int(self.steps_since)

    @abstractmethod
    def average_period(self) -> None:
        """What the ranks do together at the end of a period."""

    def step(self, batch: Batch) -> tf.Tensor:
        loss_sum = self.step_within_period(batch)
        self.steps_since.assign_add(1)
        if self.steps_since >= self.sync_every:
            self._end_period()
        return loss_sum

    def step_within_period(self, batch: Batch) -> tf.Tensor:
        return self.learner.local_update(batch)

    @tf.function
    def synchronize(self) -> None:
        if self.steps_since > 0:
            self._end_period()
        self.synchronize_state()

    def _end_period(self) -> None:
        self.average_period()
        self.steps_since.assign(0)

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step, all_reduce_everywhere(job, ranks) / every, job.spread * slowest(ranks) / math.sqrt(every)
