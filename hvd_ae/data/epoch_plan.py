"""Which samples a rank takes in an epoch, and how many in each step: ranks agree on it without a word between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.partition import (
    Segment,
    global_order,
    left_of_parts,
    order_within,
    own_part,
    part_size,
    part_start,
)
from hvd_ae.runtime.world import World


@dataclass(frozen=True)
class EpochPlan:
    """This rank's part in an epoch."""

    indices: np.ndarray  # int64: this rank's samples in the order they are used
    batch_sizes: np.ndarray  # int32 (steps,): how many of them each step takes; may be 0 in the last step
    global_batch_sizes: np.ndarray  # int32 (steps,): samples of all ranks in each step


def plan_epoch(partition: str, samples: int, world: World, batch_size: int, seed: int, epoch: int,
               classes: np.ndarray | None = None, concentration: float | None = None,
               taken: Sequence[Segment] = ()) -> EpochPlan:
    """This rank's samples in an epoch, and the batch sizes of every step: no communication, the same steps everywhere.

    Kept partitions are put into a new order every epoch. In `reshuffled` the ranks' samples of a step, one rank after the
    other, are the next `batch_size` x ranks samples of the epoch's global order; what is left for the last step is
    dealt evenly.

    Args:
        classes: of all samples, int64 (samples,), for partitions by class.
        taken: what other numbers of ranks have taken of this epoch. The plan is then for the rest: of `reshuffled` the
            rest of the global order, else what is left of each rank's part of today.
    """
    if partition == "reshuffled":
        start = sum(ranks * batch * steps for ranks, batch, steps in taken)
        return _plan_reshuffled(global_order(samples, seed, epoch)[start:], world, batch_size)
    kept = {"classes": classes, "concentration": concentration}
    order = order_within(own_part(partition, samples, world.size, world.rank, seed, **kept), seed, epoch, world.rank)
    lengths = [part_size(samples, world.size, rank) for rank in range(world.size)]
    if taken:
        left = left_of_parts(taken, partition, samples, seed, epoch, **kept)
        order = order[left[order]]
        lengths = [int(left[own_part(partition, samples, world.size, rank, seed, **kept)].sum())
                   for rank in range(world.size)]
    before = np.arange(0, max(lengths), batch_size)  # samples of a part that earlier steps have taken
    global_sizes = sum(number * np.clip(length - before, 0, batch_size) for length, number in Counter(lengths).items())
    sizes = np.clip(len(order) - before, 0, batch_size)
    return EpochPlan(order, sizes.astype(np.int32), global_sizes.astype(np.int32))


def _plan_reshuffled(order: np.ndarray, world: World, batch_size: int) -> EpochPlan:
    global_batch = batch_size * world.size
    full, rest = divmod(len(order), global_batch)
    mine = order[: full * global_batch].reshape(full, world.size, batch_size)[:, world.rank].ravel()
    sizes, global_sizes = [batch_size] * full, [global_batch] * full
    if rest:
        start, size = part_start(rest, world.size, world.rank), part_size(rest, world.size, world.rank)
        first = full * global_batch + start
        mine = np.concatenate([mine, order[first : first + size]])
        sizes.append(size)
        global_sizes.append(rest)
    return EpochPlan(mine, np.array(sizes, np.int32), np.array(global_sizes, np.int32))


def plan_evaluation(samples: int, world: World) -> np.ndarray:
    """This rank's contiguous share of samples that are only looked at; there may be none."""
    start = part_start(samples, world.size, world.rank)
    return np.arange(start, start + part_size(samples, world.size, world.rank))
