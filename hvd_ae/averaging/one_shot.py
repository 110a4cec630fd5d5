"""Ranks train apart and are averaged once, at the end."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts
from hvd_ae.averaging.strategy import Strategy, of_rank
from hvd_ae.models.learner import Batch
from hvd_ae.models.state import Kind, State
from hvd_ae.runtime.world import World


class OneShot(Strategy):
    """One-shot averaging (Zinkevich et al. 2010, "Parallelized Stochastic Gradient Descent").

    Parameters and optimizer state are each rank's own to the end. What is evaluated after an epoch, and saved at the end, is
    the mean of the ranks' parameters and buffers, weighted by the samples each has trained on, with the first rank's
    tables; training goes on from each rank's own.
    """

    kinds_of_rank = frozenset(Kind)
    period = None

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.mean = tf.Variable(learner.vector, name="mean", trainable=False)
        self.mean_buffers = tf.Variable(learner.buffers, name="mean_buffers", trainable=False)
        # with the tables of the first rank in the places of this rank's own
        self.first_counters = [counter if is_seed else tf.Variable(counter, trainable=False)
                               for counter, is_seed in zip(learner.counters, learner.flat.is_seed)]

    @property
    def result(self) -> tuple[tf.Variable, tf.Variable]:
        return self.mean, self.mean_buffers

    @property
    def result_counters(self) -> list[tf.Variable]:
        return self.first_counters

    def added_state(self) -> dict[str, State]:
        first = {f"first_{position}": State(counter, Kind.STRATEGY) for position, counter in enumerate(self.first_counters)
                 if not self.learner.flat.is_seed[position]}
        return {"mean": State(self.mean, Kind.STRATEGY), "mean_buffers": State(self.mean_buffers, Kind.STRATEGY), **first,
                "samples_trained": State(self.learner.samples_since_sync, Kind.STRATEGY, of_rank=True)}

    def reshard(self, name: str, of_ranks: Iterator[np.ndarray], world: World) -> np.ndarray | None:
        """Another number of ranks begins from the mean, which holds all that has been trained on."""
        return None if name == "samples_trained" else super().reshard(name, of_ranks, world)

    def step(self, batch: Batch) -> tf.Tensor:
        return self.learner.local_update(batch)

    @tf.function
    def synchronize(self) -> None:
        weight, trained = self.weight()
        if trained:
            self.mean.assign(self.comm.sum(weight * self.learner.vector))
            self.add_drift(self.learner.vector, self.mean)
            self.learner.constrain(self.mean)
            if self.learner.buffers.shape[0]:
                self.mean_buffers.assign(self.comm.sum(weight * self.learner.buffers))
        for first, own in zip(self.first_counters, self.learner.counters):
            if first is not own:
                first.assign(of_rank(self.first_trainer, own, self.comm))

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step, 0.0, 0.0
