"""No averaging: each rank trains its own model on its own partition, the baseline that shows what averaging gives."""

from itertools import islice

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts
from hvd_ae.averaging.strategy import OfRanks, Strategy
from hvd_ae.models.learner import Batch
from hvd_ae.models.state import Kind
from hvd_ae.runtime.world import World


class Independent(Strategy):
    """Ranks never communicate while they train; what is saved at the end is the model of rank 0.

    Optimizer state, buffers and parameters are each rank's own. Validation is the mean over samples of the ranks' own losses,
    each rank judging its share of the validation samples with its own model.
    """

    kinds_of_rank = frozenset(Kind)
    period = None

    def step(self, batch: Batch) -> tf.Tensor:
        return self.learner.local_update(batch)

    def reshard(self, name: str, of_ranks: OfRanks, world: World) -> np.ndarray | None:
        """Nothing is averaged: a rank goes on with one of the models there were, in turn."""
        return next(islice(of_ranks, world.rank % len(of_ranks), None))

    def synchronize(self) -> None:
        pass

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step, 0.0, 0.0
