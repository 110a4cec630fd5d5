"""What comes next: each step's rows, and the rows of several steps read one call ahead by a thread."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

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
from hvd_ae.data.samples import Samples
from hvd_ae.runtime.world import World


@dataclass(frozen=True)
class EpochPlan:
    """This rank's part in an epoch."""

    indices: np.ndarray  # int64: this rank's rows in the order they are used
    batch_sizes: np.ndarray  # int32 (steps,): how many of them each step takes; may be 0 in the last step
    global_batch_sizes: np.ndarray  # int32 (steps,): rows of all ranks in each step


@dataclass(frozen=True)
class SuperBatch:
    """The rows of several steps."""

    inputs: np.ndarray  # (rows of all these steps, *sample_shape)
    batch_sizes: np.ndarray  # int32 (steps,)
    global_batch_sizes: np.ndarray  # int32 (steps,)
    labels: np.ndarray | None = None  # int64 (rows of all these steps,), where they are asked for


def plan_epoch(partition: str, samples: int, world: World, batch_size: int, seed: int, epoch: int,
               labels: np.ndarray | None = None, concentration: float | None = None,
               taken: Sequence[Segment] = ()) -> EpochPlan:
    """This rank's rows in an epoch, and the number of rows of every step: no communication, the same steps everywhere.

    Kept partitions are put into a new order every epoch. In `reshuffled` the ranks' rows of a step, one rank after the
    other, are the next `batch_size` x ranks samples of the epoch's global order; what is left for the last step is
    dealt evenly.

    Args:
        taken: what other numbers of ranks have taken of this epoch. The plan is then for the rest: of `reshuffled` the
            rest of the global order, else what is left of each rank's part of today.
    """
    if partition == "reshuffled":
        start = sum(ranks * batch * steps for ranks, batch, steps in taken)
        return _plan_reshuffled(global_order(samples, seed, epoch)[start:], world, batch_size)
    kept = {"labels": labels, "concentration": concentration}
    order = order_within(own_part(partition, samples, world.size, world.rank, seed, **kept), seed, epoch, world.rank)
    lengths = [part_size(samples, world.size, rank) for rank in range(world.size)]
    if taken:
        left = left_of_parts(taken, partition, samples, seed, epoch, **kept)
        order = order[left[order]]
        lengths = [int(left[own_part(partition, samples, world.size, rank, seed, **kept)].sum())
                   for rank in range(world.size)]
    before = np.arange(0, max(lengths), batch_size)  # rows of a part that earlier steps have taken
    global_batch_sizes = sum(number * np.clip(length - before, 0, batch_size) for length, number in Counter(lengths).items())
    batch_sizes = np.clip(len(order) - before, 0, batch_size)
    return EpochPlan(order, batch_sizes.astype(np.int32), global_batch_sizes.astype(np.int32))


def _plan_reshuffled(order: np.ndarray, world: World, batch_size: int) -> EpochPlan:
    global_batch = batch_size * world.size
    full, rest = divmod(len(order), global_batch)
    mine = order[: full * global_batch].reshape(full, world.size, batch_size)[:, world.rank].ravel()
    batch_sizes, global_batch_sizes = [batch_size] * full, [global_batch] * full
    if rest:
        start, size = part_start(rest, world.size, world.rank), part_size(rest, world.size, world.rank)
        first = full * global_batch + start
        mine = np.concatenate([mine, order[first : first + size]])
        batch_sizes.append(size)
        global_batch_sizes.append(rest)
    return EpochPlan(mine, np.array(batch_sizes, np.int32), np.array(global_batch_sizes, np.int32))


def plan_evaluation(samples: int, world: World) -> np.ndarray:
    """This rank's contiguous share of rows that are only looked at; there may be none."""
    start = part_start(samples, world.size, world.rank)
    return np.arange(start, start + part_size(samples, world.size, world.rank))


@contextmanager
def super_batches(samples: Samples, plan: EpochPlan, first_step: int, ends: Sequence[int],
           with_labels: bool = False) -> Iterator[Iterator[SuperBatch]]:
    """The chunks from `first_step` on, each ending before the next of the steps `ends`, read one ahead by a thread.

    Two chunks are in memory at a time. A fault in the thread is raised where its chunk is asked for. The thread ends
    with the context, however it is left.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        yield _read_ahead(reader, samples, plan, first_step, ends, with_labels)


def _read_ahead(reader: ThreadPoolExecutor, samples: Samples, plan: EpochPlan, first_step: int,
                ends: Sequence[int], with_labels: bool) -> Iterator[SuperBatch]:
    ahead = None
    for step, end in pairwise([first_step, *ends]):
        following = reader.submit(_read, samples, plan, step, end, with_labels)
        if ahead is not None:
            yield ahead.result()
        ahead = following
    if ahead is not None:
        yield ahead.result()


def _read(samples: Samples, plan: EpochPlan, step: int, end: int, with_labels: bool) -> SuperBatch:
    first = int(plan.batch_sizes[:step].sum())
    rows = int(plan.batch_sizes[step:end].sum())
    mine = plan.indices[first : first + rows]
    labels = samples.labels[mine] if with_labels else None
    return SuperBatch(samples.rows(mine), plan.batch_sizes[step:end], plan.global_batch_sizes[step:end], labels)
