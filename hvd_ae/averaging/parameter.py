"""Averaging parameters every H steps: ranks train alone in between, which sends 1/H of the bytes."""

import tensorflow as tf

from hvd_ae.averaging.way import Way
from hvd_ae.models.replica import Batch


class Parameter(Way):
    """Local SGD (Stich 2019, https://arxiv.org/abs/1805.09767): H steps of one's own, then the mean of the parameters.

    The optimizer's slots are kept as each rank's own, averaged with the parameters, or reset to zero at each average
    (`slots`). The last, incomplete period ends with an average too, as does every period that an evaluation or a
    checkpoint cuts short. Ranks weigh the samples they trained on since the last average.
    """

    def __init__(self, replica, collectives, settings):
        super().__init__(replica, collectives, settings)
        self.sync_every = settings.sync_every
        self.slots = settings.slots
        # steps without rows are not counted by the optimizer, so its counts may differ too
        self.own = ("seed_", "count_", "slot_") if settings.slots == "keep" else ("seed_", "count_")
        self.steps_since = tf.Variable(0, name="steps_since", trainable=False)

    @property
    def period(self) -> int:
        return self.sync_every

    def step(self, batch: Batch) -> tf.Tensor:
        gradient, loss_sum = self.replica.gradient(batch, divisor=tf.maximum(batch.rows, 1))
        if batch.rows > 0:
            self.replica.update(gradient)
        self.steps_since.assign_add(1)
        if self.steps_since >= self.sync_every:
            self._average()
        return loss_sum

    @tf.function
    def settle(self) -> None:
        if self.steps_since > 0:
            self._average()

    def _average(self) -> None:
        before = tf.identity(self.replica.vector)
        slots = self.replica.slots
        self.average(self.replica.vector, self.replica.buffers, *(slots if self.slots == "average" else []))
        if self.slots == "reset":
            for slot in slots:
                slot.assign(tf.zeros_like(slot))
        distance = tf.cast(tf.reduce_sum(tf.math.squared_difference(before, self.replica.vector)), tf.float64)
        self.drift.assign_add([distance, 1.0])
        self.steps_since.assign(0)
