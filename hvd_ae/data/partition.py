"""Which samples are a rank's own: pure functions of numbers, the same on every rank without a word between them.

What `label-skew` draws comes from `numpy.random.Generator(PCG64(SeedSequence))`. NumPy promises the same bits of PCG64 for
ever, but may change in a new version what `permutation` makes of them (NEP 19): all ranks of a job, and a run that is
resumed, want one NumPy version. A test holds the parts of today, so that such a change is seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hvd_ae.data.order import Order, UniformOrder, WindowedOrder
from hvd_ae.data.permutation import Permutation
from hvd_ae.errors import Refused

_SHUFFLED, _SKEWED, _RESHUFFLED, _WITHIN = 1, 2, 3, 4  # keeps the streams of one seed apart


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the key alone, each key having a stream of its own."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def part_size(samples: int, ranks: int, rank: int) -> int:
    """Parts differ by at most one; the first ones are the longer."""
    return samples // ranks + (rank < samples % ranks)


def part_start(samples: int, ranks: int, rank: int) -> int:
    return rank * (samples // ranks) + min(rank, samples % ranks)


class Segment(NamedTuple):
    """Whole steps of an epoch, taken by so many ranks with so many samples each a step."""

    ranks: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Partition:
    """How training samples are dealt to ranks, and in which order each epoch takes them.

    partition: contiguous, strided, shuffled, label-skew, or reshuffled.
    samples: how many there are.
    classes: of all samples, int64 (samples,), for label-skew; else None.
    window: blocks of a window, of all ranks together; None where all samples are one.
    block_starts: the number of each block's first sample, where there are windows.
    """

    partition: str
    samples: int
    seed: int
    classes: np.ndarray | None = None
    concentration: float | None = None
    window: int | None = None
    block_starts: np.ndarray | None = None

    def global_order(self, epoch: int) -> Order:
        """The order of all samples in an epoch of `reshuffled` (law 5)."""
        key = (self.seed, _RESHUFFLED, epoch)
        if self.window is None:
            return UniformOrder(self.samples, *key)
        return WindowedOrder(self.block_starts, np.diff(self.block_starts, append=self.samples), self.window, *key)

    def own_order(self, ranks: int, rank: int, epoch: int) -> Order:
        """A rank's own samples of a kept partition, in the order of this epoch."""
        key = (self.seed, _WITHIN, epoch, rank)
        if self.window is None:
            size, number_of = self.own_part(ranks, rank)
            return UniformOrder(size, *key, number_of=number_of)
        return WindowedOrder(*self._own_blocks(ranks, rank), max(1, self.window // ranks), *key)

    def sizes(self, ranks: int) -> list[int]:
        """The number of each rank's own samples."""
        if self.window is not None and self.partition == "shuffled":
            sizes = self._shuffled_blocks()[1]
            return np.bincount(dealt(sizes, ranks), sizes, ranks).astype(int).tolist()
        return [part_size(self.samples, ranks, rank) for rank in range(ranks)]

    def own_part(self, ranks: int, rank: int) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
        """How many samples a rank keeps for the whole run, and their numbers by their place among them.

        Parts are disjoint, cover every sample, and differ in size by at most one (law 6).

        Raises:
            Refused: label-skew without classes.
        """
        start, size = part_start(self.samples, ranks, rank), part_size(self.samples, ranks, rank)
        if self.partition == "contiguous":
            return size, lambda places: start + places
        if self.partition == "strided":
            return size, lambda places: rank + ranks * places
        if self.partition == "shuffled":
            shuffled = Permutation(self.samples, self.seed, _SHUFFLED)
            return size, lambda places: shuffled(start + places)
        assert self.partition == "label-skew", self.partition
        if self.classes is None:
            raise Refused("partition='label-skew' needs labels, and these data have none: use another partition, or labels "
                          "in NAME.labels.npy beside NAME.npy, or --labels")
        part = _skewed_parts(self.classes, ranks, self.seed, self.concentration)[rank]
        return len(part), lambda places: part[places]

    def _own_blocks(self, ranks: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """First sample and size of each block of a rank's part, where a block is too dear to be read by several ranks.

        The parts of `shuffled` are whole blocks. A part of `contiguous` begins and ends where it
        does in any format: the block on the border is read by both neighbours.
        """
        if self.partition == "shuffled":
            firsts, sizes = self._shuffled_blocks()
            mine = dealt(sizes, ranks) == rank
            return firsts[mine], sizes[mine]
        firsts, sizes = self.block_starts, np.diff(self.block_starts, append=self.samples)
        start = part_start(self.samples, ranks, rank)
        end = start + part_size(self.samples, ranks, rank)
        first, last = np.maximum(firsts, start), np.minimum(firsts + sizes, end)
        return first[first < last], (last - first)[first < last]

    def _shuffled_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """First sample and size of every block, in the order in which `shuffled` deals them to ranks."""
        chosen = Permutation(len(self.block_starts), self.seed, _SHUFFLED)(np.arange(len(self.block_starts)))
        return self.block_starts[chosen], np.diff(self.block_starts, append=self.samples)[chosen]

    def left(self, taken: Sequence[Segment], epoch: int) -> np.ndarray:
        """Which samples of a kept partition the segments have left, bool (samples,)."""
        left = np.ones(self.samples, bool)
        for ranks, batch_size, steps in taken:
            for rank in range(ranks):
                order = self.own_order(ranks, rank, epoch)
                numbers = order.indices(np.arange(order.count))
                left[numbers[left[numbers]][: batch_size * steps]] = False
        return left


def dealt(sizes: np.ndarray, ranks: int) -> np.ndarray:
    """The rank of each block, where consecutive blocks are dealt to ranks in about equal numbers of samples."""
    ends = np.cumsum(sizes)
    if not len(ends):
        return ends
    return np.minimum((ends - (sizes + 1) // 2) * ranks // ends[-1], ranks - 1)


def _skewed_parts(classes: np.ndarray, ranks: int, seed: int, concentration: float) -> list[np.ndarray]:
    """Each rank draws its own shares of the classes from a Dirichlet distribution, and fills its quota by them.

    After Hsu et al. 2019 (https://arxiv.org/abs/1909.06335), with equal quotas: a class that runs out is replaced by
    those that are left, so the last ranks take what the others leave. The prior is the classes' own frequency times
    their number: `concentration` is that of each class, where all are equally frequent.
    """
    random = generator(seed, _SKEWED)
    kinds, inverse = np.unique(classes, return_inverse=True)
    pools = [random.permutation(np.flatnonzero(inverse == kind)) for kind in range(len(kinds))]
    left = np.array([len(pool) for pool in pools])
    prior = left / left.sum() * len(kinds)
    parts = []
    for rank in range(ranks):
        chosen = _draw(random, np.maximum(concentration * prior, 1e-6), left, part_size(len(classes), ranks, rank))
        taken = [pool[len(pool) - n_left : len(pool) - n_left + n] for pool, n_left, n in zip(pools, left, chosen)]
        left -= chosen
        parts.append(np.concatenate(taken))
    return parts


def _draw(random: np.random.Generator, alphas: np.ndarray, left: np.ndarray, quota: int) -> np.ndarray:
    """How many of each class to take: `quota` in all, by shares of Dirichlet(alphas), and never more than are left."""
    chosen = np.zeros(len(left), np.int64)
    shares = random.dirichlet(alphas)
    while quota:
        is_left = chosen < left
        shares[~is_left] = 0.0
        if shares.sum() < 1e-12:  # all the classes it would have: draw anew among the others
            shares[is_left] = random.dirichlet(alphas[is_left])
        wanted = np.minimum(random.multinomial(quota, shares / shares.sum()), left - chosen)
        chosen += wanted
        quota -= int(wanted.sum())
    return chosen


