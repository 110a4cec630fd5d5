"""Ranks train apart and are averaged once, at the end."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.replica import Batch
from hvd_ae.runtime.world import World


class OneShot(Strategy):
    """One-shot averaging (Zinkevich et al. 2010, "Parallelized Stochastic Gradient Descent").

    Parameters and slots are each rank's own to the end. What is evaluated after an epoch, and saved at the end, is the
    mean of the ranks' parameters and buffers, weighted by the samples each has trained on; training goes on from each
    rank's own.
    """

    own = ("seed_", "slot_", "count_", "parameters", "buffers", "way_rows")
    period = None

    def __init__(self, replica, comm, settings, steps_per_epoch):
        super().__init__(replica, comm, settings, steps_per_epoch)
        self.mean = tf.Variable(replica.vector, name="mean", trainable=False)
        self.mean_buffers = tf.Variable(replica.buffers, name="mean_buffers", trainable=False)

    @property
    def result(self) -> tuple[tf.Variable, tf.Variable]:
        return self.mean, self.mean_buffers

    @property
    def vectors(self) -> dict[str, tf.Variable]:
        return {**self.replica.vectors, "mean": self.mean, "mean_buffers": self.mean_buffers,
                "way_rows": self.replica.samples_since_sync}

    def handed_on(self, name: str, of_ranks: Iterator[np.ndarray], world: World) -> np.ndarray | None:
        """Another number of ranks begins from the mean, which holds all that has been trained on."""
        return None if name == "way_rows" else super().handed_on(name, of_ranks, world)

    def step(self, batch: Batch) -> tf.Tensor:
        return self.local_step(batch)

    @tf.function
    def synchronize(self) -> None:
        weight, trained = self.weight()
        if trained:
            self.mean.assign(self.comm.sum(weight * self.replica.vector))
            self.add_drift(self.replica.vector, self.mean)
            if self.replica.buffers.shape[0]:
                self.mean_buffers.assign(self.comm.sum(weight * self.replica.buffers))

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step, 0.0, 0.0
