"""Which samples a rank takes in an epoch, and how many in each step: ranks agree on it without a word between them."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.order import Order, Rest
from hvd_ae.data.partition import Partition, Segment, part_size, part_start
from hvd_ae.runtime.world import World


@dataclass(frozen=True)
class EpochPlan:
    """This rank's part in an epoch.

    order: of which this rank takes the positions that `positions` gives for its own samples, counted from 0.
    batch_sizes: int32 (steps,), how many samples each step takes of this rank; may be 0 in the last step.
    global_batch_sizes: int32 (steps,), samples of all ranks in each step.
    start: of a shared order, the position at which the first step begins.
    shared: whether all ranks take of the same order; else it is of this rank's own samples.
    """

    order: Order
    positions: Callable[[np.ndarray], np.ndarray]
    batch_sizes: np.ndarray
    global_batch_sizes: np.ndarray
    start: int = 0
    shared: bool = False

    @property
    def count(self) -> int:
        """This rank's samples."""
        return int(self.batch_sizes.sum())

    def positions_of(self, first_step: int, end_step: int) -> np.ndarray:
        """Where in the order the samples of these steps are, int64."""
        first = int(self.batch_sizes[:first_step].sum())
        return self.positions(np.arange(first, first + int(self.batch_sizes[first_step:end_step].sum())))

    def span_of(self, first_step: int, end_step: int) -> tuple[int, int]:
        """The first position that any rank takes of the order in these steps, and the first after the last."""
        sizes = self.global_batch_sizes if self.shared else self.batch_sizes
        first = self.start + int(sizes[:first_step].sum())
        return first, first + int(sizes[first_step:end_step].sum())

    @property
    def indices(self) -> np.ndarray:
        """The numbers of this rank's samples in the order they are used, int64; as many as there are."""
        return self.first_indices(self.count)

    def first_indices(self, count: int) -> np.ndarray:
        """The first so many of them."""
        return self.order.indices(self.positions(np.arange(min(count, self.count))))

    def without_samples(self) -> "EpochPlan":
        """The same steps for a rank that takes no part in them."""
        return dataclasses.replace(self, batch_sizes=np.zeros_like(self.batch_sizes))


def plan_epoch(partition: Partition, world: World, batch_size: int, epoch: int, taken: Sequence[Segment] = ()) -> EpochPlan:
    """This rank's samples in an epoch, and the batch sizes of every step: no communication, the same steps everywhere.

    Kept partitions are put into a new order every epoch. In `reshuffled` the ranks' samples of a step, one rank after the
    other, are the next `batch_size` x ranks samples of the epoch's global order; what is left for the last step is
    dealt evenly.

    Args:
        taken: what other numbers of ranks have taken of this epoch. The plan is then for the rest: of `reshuffled` the
            rest of the global order, else what is left of each rank's part of today.
    """
    if partition.partition == "reshuffled":
        return _plan_reshuffled(partition.global_order(epoch), sum(ranks * batch * steps for ranks, batch, steps in taken),
                                world, batch_size)
    order, lengths = partition.own_order(world.size, world.rank, epoch), partition.sizes(world.size)
    if taken:
        left = partition.left(taken, epoch)
        order = _left_of(order, left)
        lengths = [_left_of(partition.own_order(world.size, rank, epoch), left).count for rank in range(world.size)]
    before = np.arange(0, max(lengths), batch_size)  # samples of a part that earlier steps have taken
    global_sizes = sum(number * np.clip(length - before, 0, batch_size) for length, number in Counter(lengths).items())
    sizes = np.clip(order.count - before, 0, batch_size)
    return EpochPlan(order, lambda own: own, sizes.astype(np.int32), global_sizes.astype(np.int32))


def _left_of(order: Order, left: np.ndarray) -> Rest:
    return Rest(order, np.flatnonzero(left[order.indices(np.arange(order.count))]))


def _plan_reshuffled(order: Order, start: int, world: World, batch_size: int) -> EpochPlan:
    global_batch = batch_size * world.size
    full, rest = divmod(order.count - start, global_batch)
    own_rest, first_of_rest = part_size(rest, world.size, world.rank), part_start(rest, world.size, world.rank)
    steps = full + (rest > 0)
    sizes, global_sizes = np.full(steps, batch_size, np.int32), np.full(steps, global_batch, np.int32)
    if rest:
        sizes[-1], global_sizes[-1] = own_rest, rest

    def positions(own: np.ndarray) -> np.ndarray:
        step, within = np.divmod(own, batch_size)
        return start + step * global_batch + within + np.where(step < full, world.rank * batch_size, first_of_rest)

    return EpochPlan(order, positions, sizes, global_sizes, start, shared=True)


def plan_evaluation(samples: int, world: World) -> np.ndarray:
    """This rank's contiguous share of samples that are only looked at; there may be none."""
    start = part_start(samples, world.size, world.rank)
    return np.arange(start, start + part_size(samples, world.size, world.rank))
