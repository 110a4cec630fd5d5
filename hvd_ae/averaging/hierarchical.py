"""Gradients among the ranks of a node at every step, parameters among nodes every H steps."""

import math

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, all_reduce, nodes_of, slowest
from hvd_ae.averaging.parameter import Parameter
from hvd_ae.collectives.communicator import part_sizes
from hvd_ae.errors import Refused
from hvd_ae.models.learner import Batch
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings


def _nodes_of(settings: TrainSettings, world: World) -> tuple[int, int]:
    """(number of nodes, ranks on each)."""
    ranks_per_node = settings.ranks_per_node or world.local_size
    return world.size // ranks_per_node, ranks_per_node


class Hierarchical(Parameter):
    """Local SGD among nodes whose ranks work as one (Lin et al. 2020, section 5, https://arxiv.org/abs/1808.07217).

    The fast links inside a node carry a gradient every step; the slow ones between nodes carry the parameters every H
    steps, each rank of a node its own part of them. Optimizer state is the same within a node; `optimizer_state` says what
    becomes of it among nodes, as in `parameter`. Nodes are those that MPI reports, in whatever order ranks were placed on
    them; `ranks_per_node` lets consecutive ranks of one machine stand for several.
    """

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        _, each = _nodes_of(settings, comm.world)
        mine = comm.world.node if settings.ranks_per_node is None else comm.world.rank // each
        node_of = comm.all_gather(np.array([mine], np.int64)).numpy().tolist()
        inside = [[rank for rank in range(len(node_of)) if node_of[rank] == node] for node in sorted(set(node_of))]
        self.inside = comm.split(inside)
        self.across = comm.split([sorted(group) for group in zip(*inside, strict=True)])

    def close(self) -> None:
        self.inside.free()
        self.across.free()

    @classmethod
    def check(cls, settings: TrainSettings, world: World, engine: str) -> None:
        nodes, each = _nodes_of(settings, world)
        if nodes * each != world.size or (settings.ranks_per_node is None and nodes != world.nodes):
            raise Refused(f"averaging='hierarchical' needs as many ranks on every node, and {world.size} ranks are not a "
                          f"multiple of {each}: start the same number on each node, or set --ranks-per-node")

    def step_within_period(self, batch: Batch) -> tf.Tensor:
        gradient, loss_sum = self.learner.gradient(batch, divisor=tf.constant(1))
        with tf.control_dependencies([gradient]):  # else its seconds would hold those of the gradient
            samples = self.inside.sum(tf.cast(batch.size, tf.float32)[tf.newaxis])[0]
        gradient = self.inside.sum(gradient)
        if samples > 0:
            self.learner.update(gradient / samples)
        return loss_sum

    def average_all(self, *vectors: tf.Variable) -> None:
        mine, trained = self.weight()
        weight = self.inside.sum(mine[tf.newaxis])[0]  # of this node
        if trained:
            for vector in vectors:
                sizes = part_sizes(vector.shape[0], self.inside.world.size)
                first, count = sum(sizes[: self.inside.world.rank]), sizes[self.inside.world.rank]
                part = self.across.sum(weight * vector[first : first + count])
                vector.assign(tf.ensure_shape(self.inside.all_gather(part, vector.shape[0]), vector.shape))
            self.average(self.learner.buffers)

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        inside, nodes = nodes_of(job, ranks)
        often, seldom = all_reduce(inside, job.size, job.inside), all_reduce(nodes, job.size, job.between)
        wait = job.spread * (slowest(inside) + (slowest(nodes) / math.sqrt(every)))
        return job.step, often + (often + seldom) / every, wait
