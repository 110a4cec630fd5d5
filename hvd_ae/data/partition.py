"""Which samples are a rank's own: pure functions of numbers, the same on every rank without a word between them.

Orders come from `numpy.random.Generator(PCG64(SeedSequence))`. NumPy promises the same bits of PCG64 for ever, but may
change in a new version what `permutation` makes of them (NEP 19): all ranks of a job, and a run that is resumed, want
one NumPy version. A test holds the orders of today, so that such a change is seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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


def own_part(partition: str, samples: int, ranks: int, rank: int, seed: int, classes: np.ndarray | None = None,
             concentration: float | None = None) -> np.ndarray:
    """The samples that a rank keeps for the whole run, int64, for every partition but `reshuffled`.

    Parts are disjoint, cover every sample, and differ in size by at most one (law 6).

    Raises:
        Refused: label-skew without classes.
    """
    start, size = part_start(samples, ranks, rank), part_size(samples, ranks, rank)
    if partition == "contiguous":
        return np.arange(start, start + size)
    if partition == "strided":
        return np.arange(rank, samples, ranks)
    if partition == "shuffled":
        return generator(seed, _SHUFFLED).permutation(samples)[start : start + size]
    assert partition == "label-skew", partition
    if classes is None:
        raise Refused("partition='label-skew' needs labels, and these data have none: use another partition, or labels "
                      "in NAME.labels.npy beside NAME.npy")
    return _skewed_parts(classes, ranks, seed, concentration)[rank]


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


def global_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of all samples in an epoch of `reshuffled`: a function of (seed, epoch) alone (law 5)."""
    return generator(seed, _RESHUFFLED, epoch).permutation(samples)


class Segment(NamedTuple):
    """Whole steps of an epoch, taken by so many ranks with so many samples each a step."""

    ranks: int
    batch_size: int
    steps: int


def left_of_parts(taken: Sequence[Segment], partition: str, samples: int, seed: int, epoch: int, **options) -> np.ndarray:
    """Which samples of a kept partition the segments have left, bool (samples,); see `own_part` for the options."""
    left = np.ones(samples, bool)
    for ranks, batch_size, steps in taken:
        for rank in range(ranks):
            part = own_part(partition, samples, ranks, rank, seed, **options)
            order = order_within(part, seed, epoch, rank)
            left[order[left[order]][: batch_size * steps]] = False
    return left


def order_within(part: np.ndarray, seed: int, epoch: int, rank: int) -> np.ndarray:
    """A kept part in the order of this epoch."""
    return part[generator(seed, _WITHIN, epoch, rank).permutation(len(part))]
