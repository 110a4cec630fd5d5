"""What every way of averaging can do: advance by a step, and settle so that all ranks hold the same."""

from abc import ABC, abstractmethod

import tensorflow as tf

from hvd_ae.collectives.engine import Engine
from hvd_ae.config import TrainSettings
from hvd_ae.models.replica import Batch, Replica


class Way(ABC):
    """A way of averaging over ranks, bound to this rank's replica.

    Whatever a way does, two things are the same for all. Buffers (batch normalisation's statistics) are averaged when
    the ranks settle, weighted by the samples each rank has seen since. Counters (dropout's seeds) are a rank's own.
    """

    # beginnings of the names of vectors that are each rank's own even when the ranks are settled: these are neither
    # proved to be the same nor written once for all
    own = ("seed_",)

    def __init__(self, replica: Replica, collectives: Engine, settings: TrainSettings):
        self.replica = replica
        self.collectives = collectives
        # of this rank's distances from the average, one for each average: their squares' sum, and their number
        self.drift = tf.Variable(tf.zeros([2], tf.float64), name="drift", trainable=False)

    @abstractmethod
    def step(self, batch: Batch) -> tf.Tensor:
        """Train on one batch, inside `tf.function`; the sum of this rank's losses (float32 scalar)."""

    @property
    def period(self) -> int:
        """Steps from one moment at which the ranks are in step to the next."""
        return 1

    @abstractmethod
    def settle(self) -> None:
        """Bring all ranks to the same parameters and buffers: before evaluation, a checkpoint and the end."""

    @property
    def vectors(self) -> dict[str, tf.Variable]:
        """Everything that training changes, by name, what this way adds included."""
        return self.replica.vectors

    def shared_vectors(self) -> dict[str, tf.Variable]:
        """What all ranks hold alike once they are settled."""
        return {name: vector for name, vector in self.vectors.items() if not name.startswith(self.own)}

    def own_vectors(self) -> dict[str, tf.Variable]:
        return {name: vector for name, vector in self.vectors.items() if name.startswith(self.own)}

    def average(self, *vectors: tf.Variable) -> None:
        """Replace vectors by their mean over samples: each rank weighs what it has trained on since the last time.

        Does nothing where no rank has trained since. Inside `tf.function`.
        """
        mine, all_ranks = tf.unstack(tf.cast(self.replica.rows_since, tf.float64))
        if all_ranks > 0:
            weight = tf.cast(mine / all_ranks, tf.float32)
            for vector in vectors:
                if vector.shape[0]:
                    vector.assign(self.collectives.sum(weight * vector))
            self.replica.rows_since.assign([0, 0])
