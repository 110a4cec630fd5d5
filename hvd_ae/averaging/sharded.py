"""Averaging gradients with the optimizer's state spread over the ranks: 1/N of their memory each."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, all_reduce_everywhere, slowest
from hvd_ae.averaging.gradient import Gradient
from hvd_ae.collectives.communicator import part_sizes
from hvd_ae.models.state import Kind
from hvd_ae.runtime.world import World


class Sharded(Gradient):
    """ZeRO stage 1 (Rajbhandari et al. 2020, https://arxiv.org/abs/1910.02054): the same as `gradient`, in other steps.

    Each rank receives its own part of the summed gradient (reduce-scatter), updates its part of the parameters with its
    part of the optimizer's state, and all gather the parts. It sends as many bytes as an all-reduce; optimizers that look
    at each layer's norms send the squares of these too.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER})

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        learner.sum_over_ranks(comm.sum)

    def reshard(self, name: str, of_ranks: Iterator[np.ndarray], world: World) -> np.ndarray | None:
        """The parts of the optimizer's state are put together and cut anew: nothing is lost."""
        if self.state[name].kind is not Kind.OPTIMIZER:
            return super().reshard(name, of_ranks, world)
        first, count = self.learner.part
        return np.concatenate(list(of_ranks))[first : first + count]

    @staticmethod
    def part(parameters: int, world: World) -> tuple[int, int]:
        sizes = part_sizes(parameters, world.size)
        return sum(sizes[: world.rank]), sizes[world.rank]

    def begin_epoch(self, epoch: int) -> None:
        """This rank's part may come from a checkpoint or from the root; steps then keep it and the whole the same."""
        self._take_my_part()

    def _take_my_part(self) -> None:
        first, count = self.learner.part
        self.learner.trained.value.assign(self.learner.vector[first : first + count])

    def reduce_and_update(self, gradient: tf.Tensor) -> None:
        _, count = self.learner.part
        mine = tf.ensure_shape(self.comm.reduce_scatter(gradient), [count])
        square = tf.constant(0.0)
        if self.clip_norm is not None:
            square = self.comm.sum(tf.reduce_sum(tf.square(mine))[tf.newaxis])[0]
        self.learner.update(self.clipped(mine, square))
        whole = self.comm.all_gather(tf.convert_to_tensor(self.learner.trained.value), self.learner.vector.shape[0])
        self.learner.vector.assign(tf.ensure_shape(whole, self.learner.vector.shape))
        if self.learner.flat.is_constrained:  # of whole layers, in which a part may begin and end
            self.learner.constrain(self.learner.vector)
            self._take_my_part()
        self.learner.move_average()

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        return job.step - job.update * (1 - 1 / ranks), all_reduce_everywhere(job, ranks), job.spread * slowest(ranks)
