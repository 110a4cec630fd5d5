"""Adaptive summation of gradients: between a sum and a mean, by how much the ranks' gradients agree."""

import math

import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, nodes_of, slowest
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.errors import Refused
from hvd_ae.models.learner import Batch
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings


class Adasum(Strategy):
    """Adasum (Maleki et al. 2020, https://arxiv.org/abs/2006.02924), Horovod's where Horovod is the engine.

    Gradients of two ranks, each the mean over its own samples, are combined pair by pair: orthogonal ones are added,
    equal ones averaged. The whole gradient is one vector here, where the paper works layer by layer. Optimizer state stays
    the same on all ranks; a rank without samples in a step adds a zero vector, which changes nothing.
    """

    @classmethod
    def check(cls, settings: TrainSettings, world: World, engine: str) -> None:
        if world.size & (world.size - 1):
            raise Refused(f"averaging='adasum' combines ranks in pairs of pairs, and {world.size} ranks are no power of "
                          f"two: start {1 << world.size.bit_length() - 1} or {1 << world.size.bit_length()}")

    def step(self, batch: Batch) -> tf.Tensor:
        gradient, loss_sum = self.learner.gradient(batch, divisor=tf.maximum(batch.size, 1))
        self.learner.update(self.comm.adasum(gradient))
        return loss_sum

    @tf.function
    def synchronize(self) -> None:
        self.synchronize_state()

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        inside, nodes = (math.ceil(math.log2(count)) for count in nodes_of(job, ranks))
        seconds = inside * job.inside.message(job.size) + nodes * job.between.message(job.size)
        return job.step, seconds, job.spread * slowest(ranks)
