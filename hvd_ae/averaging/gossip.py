"""Each rank averages with its neighbours on a graph; nobody ever waits for all."""

import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, slowest, widest_link
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.learner import Batch
from hvd_ae.models.state import Kind, State


class Gossip(Strategy):
    """Decentralised parallel SGD (Lian et al. 2017, https://arxiv.org/abs/1705.09056), adapt then combine.

    After its own step each rank replaces its parameters by the mean of its own and its neighbours': on a "ring" the two
    beside it; on the one-peer "exponential" graph the one 1, 2, 4, ... ranks below, in turn (Ying et al. 2021,
    https://arxiv.org/abs/2110.13363); on the "complete" graph all. Weights are the graph's, whatever samples a rank had.
    Optimizer state is each rank's own. What is evaluated and saved is the mean of all ranks' parameters, which the ranks
    themselves do not take over; buffers are averaged then too.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER, Kind.COUNT, Kind.PARAMETERS})
    period = None

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.graph = settings.graph
        self.mean = tf.Variable(learner.vector, name="mean", trainable=False)
        self.steps = tf.Variable(0, name="steps", trainable=False)

    @property
    def result(self) -> tuple[tf.Variable, tf.Variable]:
        return self.mean, self.learner.buffers

    def added_state(self) -> dict[str, State]:
        return {"mean": State(self.mean, Kind.STRATEGY), "gossip_steps": State(self.steps, Kind.STRATEGY, of_rank=True)}

    def step(self, batch: Batch) -> tf.Tensor:
        loss_sum = self.learner.local_update(batch)
        self.mix()
        return loss_sum

    def mix(self) -> None:
        """One round of averaging with the neighbours."""
        size, own = self.comm.world.size, tf.convert_to_tensor(self.learner.vector)
        if self.graph == "complete" or size == 1:
            mixed = self.comm.mean(own)
        elif self.graph == "ring" and size > 2:
            below, above = self.comm.ring_shift(own, 1), self.comm.ring_shift(own, size - 1)
            mixed = (below + own + above) / 3.0
        elif self.graph == "ring":
            mixed = (own + self.comm.ring_shift(own, 1)) / 2.0
        else:
            distance = tf.bitwise.left_shift(1, self.steps % (size - 1).bit_length())
            mixed = (own + self.comm.ring_shift(own, distance)) / 2.0
        self.learner.vector.assign(mixed)
        self.learner.constrain(self.learner.vector)
        self.steps.assign_add(1)

    @tf.function
    def synchronize(self) -> None:
        self.mean.assign(self.comm.mean(tf.convert_to_tensor(self.learner.vector)))
        self.add_drift(self.learner.vector, self.mean)
        self.learner.constrain(self.mean)
        self.synchronize_state()

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        neighbours = min(2, ranks - 1)
        return job.step, neighbours * widest_link(job, ranks).message(job.size), job.spread * slowest(neighbours + 1)
