"""Exact quartiles of any number of float32 values on any number of ranks, by counting: no sorting, no sketch.

float32 numbers are put into the order of unsigned integers, and each wanted order statistic is found some bits at a time: of
those values that begin with the bits found so far, how many have which bits next? Only counters are summed over ranks. The
first bits of all values are counted while their moments are measured, so that they need not be read for it.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hvd_ae.collectives.communicator import Communicator

QUARTILES = (0.25, 0.5, 0.75)
_STEPS, _FEWER = (11, 11, 10), (8, 8, 8, 8)  # bits that are found at a time; the second takes less memory
_MOST = 1 << 25  # bytes of counters
_SIGN, _ALL = np.uint32(0x80000000), np.uint32(0xFFFFFFFF)

# Calls a function with this rank's share of all values, a stretch at a time.
Over = Callable[[Callable[[np.ndarray], None]], None]


class FirstBits:
    """How many of this rank's values have which first bits.

    Args:
        columns: of the values.
    """

    def __init__(self, columns: int):
        fits = 2 * len(QUARTILES) * columns * 8 << _STEPS[0] <= _MOST
        self.steps = _STEPS if fits else _FEWER
        self.counters = np.zeros((1, columns, 1 << self.steps[0]), np.int64)
        self._prefixes = np.zeros((1, columns), np.uint32)

    def add(self, values: np.ndarray) -> None:
        """Count (n, columns) float32; NaN are none."""
        _count(self._prefixes, 0, self.counters, values)


def quartiles(first: FirstBits, over: Over, counts: np.ndarray, comm: Communicator,
              shares: Sequence[float] = QUARTILES) -> np.ndarray:
    """Lower quartile, median and upper quartile of each column, float64 (3, columns) (every rank calls it).

    Between two values interpolation is linear, as in `numpy.quantile` and scikit-learn; 0 where a column has no values.

    Args:
        first: of all of this rank's values.
        over: calls what it is given with (n, columns) float32, for all of this rank's values; NaN are none.
        counts: int64 (columns,), values of all ranks.
        shares: other quantiles, within 0 to 1, in their place.
    """
    last = np.maximum(counts - 1, 0)
    places = np.multiply.outer(shares, last)  # among the sorted values, as NumPy computes them
    below = np.floor(places).astype(np.int64)
    wanted = np.stack([below, np.minimum(below + 1, last)], axis=1).reshape(2 * len(shares), -1)
    lower, upper = _order_statistics(first, over, wanted, comm).reshape(len(shares), 2, -1).swapaxes(0, 1)
    return np.where(counts > 0, _between(lower, upper, places - below), 0.0)


def _between(lower: np.ndarray, upper: np.ndarray, share: np.ndarray) -> np.ndarray:
    """As NumPy rounds it."""
    difference = upper - lower
    return np.where(share < 0.5, lower + difference * share, upper - difference * (1.0 - share))


def _order_statistics(first: FirstBits, over: Over, wanted: np.ndarray, comm: Communicator) -> np.ndarray:
    """The values with these places (from 0) among the sorted ones of each column, float64 (wanted, columns)."""
    prefixes, wanted, found = np.zeros(wanted.shape, np.uint32), wanted.copy(), 0
    for bits in first.steps:
        counters = first.counters
        if found:
            counters = np.zeros((*wanted.shape, 1 << bits), np.int64)
            over(partial(_count, prefixes, found, counters))
        until = comm.sum(counters.ravel()).numpy().reshape(counters.shape).cumsum(axis=-1)
        until = np.broadcast_to(until, (*wanted.shape, 1 << bits))
        bins = (until > wanted[..., None]).argmax(axis=-1)
        before = np.take_along_axis(until, np.maximum(bins - 1, 0)[..., None], axis=-1)[..., 0]
        wanted -= np.where(bins > 0, before, 0)
        prefixes = prefixes << np.uint32(bits) | bins.astype(np.uint32)
        found += bits
    return unordered(prefixes).astype(np.float64)


def _count(prefixes: np.ndarray, found: int, counters: np.ndarray, values: np.ndarray) -> None:
    """Add to `counters` (wanted, columns, bins) the next bits of those values (n, columns) that begin with the prefixes."""
    keys, (_, columns, bins) = ordered(values), counters.shape
    places = (keys >> np.uint32(33 - bins.bit_length() - found)) & np.uint32(bins - 1)
    places = places.astype(np.intp) + np.arange(columns) * bins
    there = keys != _ALL  # NaN
    head = keys >> np.uint32(32 - found) if found else None
    counted, of = None, None
    for number, prefix in enumerate(prefixes):
        if of is None or not np.array_equal(prefix, of):  # most of the time two neighbours are looked for together
            chosen = places[there if head is None else there & (head == prefix)]
            counted, of = np.bincount(chosen, minlength=columns * bins).reshape(columns, bins), prefix
        counters[number] += counted


def ordered(values: np.ndarray) -> np.ndarray:
    """float32 as uint32 in the same order, -0 just below 0, which makes no difference; NaN is the largest of all."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(np.isnan(values), _ALL, bits ^ np.where(bits & _SIGN, _ALL, _SIGN))


def unordered(keys: np.ndarray) -> np.ndarray:
    """The inverse of `ordered`, but for NaN."""
    return (keys ^ np.where(keys & _SIGN, _SIGN, _ALL)).view(np.float32)


