"""The order of samples in an epoch: a function of (seed, epoch, layout, window), never of the ranks (law 5).

Where all samples fit into memory it is a uniform permutation, the same for every format. Else blocks come in a random
order, so many at a time as fit, a window; the samples of a window come in a random order; and the windows' samples follow
one another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from hvd_ae.data.permutation import Permutation

_SAMPLES, _BLOCKS = 0, 1  # keeps the permutations of one key apart


class Order(ABC):
    """An order of samples, of which any stretch can be asked for; `count` is how many there are."""

    count: int

    @abstractmethod
    def indices(self, positions: np.ndarray) -> np.ndarray:
        """The numbers of the samples at these positions of the order, int64."""


class UniformOrder(Order):
    """A uniform permutation.

    Args:
        count: of samples.
        key: what the permutation depends on.
        number_of: from the samples' places, 0 to count - 1, to their numbers, where these are not the same.
    """

    def __init__(self, count: int, *key: int, number_of: Callable[[np.ndarray], np.ndarray] = lambda places: places):
        self.count, self._number_of = count, number_of
        self._permutation = Permutation(count, *key, _SAMPLES)

    def indices(self, positions: np.ndarray) -> np.ndarray:
        return self._number_of(self._permutation(positions))


class Rest(Order):
    """What is left of an order.

    Args:
        positions: those of the order that are left, int64, ascending.
    """

    def __init__(self, order: Order, positions: np.ndarray):
        self.count, self.whole, self.positions = len(positions), order, positions

    def indices(self, positions: np.ndarray) -> np.ndarray:
        return self.whole.indices(self.positions[positions])


class WindowedOrder(Order):
    """Blocks in a random order, and within each window of consecutive blocks of that order the samples in a random one.

    Args:
        firsts: int64 (blocks,), the number of each block's first sample.
        sizes: int64 (blocks,), samples of each.
        window: blocks of a window.
        key: what the permutations depend on.
    """

    def __init__(self, firsts: np.ndarray, sizes: np.ndarray, window: int, *key: int):
        chosen = Permutation(len(firsts), *key, _BLOCKS)(np.arange(len(firsts)))
        self._firsts, self._sizes, self._blocks = firsts[chosen], sizes[chosen], window
        self.count, self._key = int(sizes.sum()), key
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])  # position at which each block's samples begin

    @property
    def largest_block(self) -> int:
        """Samples of the largest block."""
        return int(self._sizes.max(initial=0))

    @property
    def most_samples(self) -> int:
        """No window has more, whichever blocks it is of."""
        return min(self.count, self._blocks * self.largest_block)

    def window_of(self, position: int) -> int:
        """The number of the window that a position lies in."""
        return (int(np.searchsorted(self._starts, position, side="right")) - 1) // self._blocks

    def window_range(self, window: int) -> tuple[int, int]:
        """The first position of a window, and the first after it."""
        first = window * self._blocks
        return int(self._starts[first]), int(self._starts[min(first + self._blocks, len(self._firsts))])

    def blocks_of(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """The number of the first sample, and the samples, of each block of a window."""
        chosen = slice(window * self._blocks, (window + 1) * self._blocks)
        return self._firsts[chosen], self._sizes[chosen]

    def places(self, window: int, positions: np.ndarray) -> np.ndarray:
        """Where the samples at positions of one window lie when its blocks' samples are put one after the other, int64."""
        first, end = self.window_range(window)
        return Permutation(end - first, *self._key, _SAMPLES, window)(np.asarray(positions) - first)

    def indices(self, positions: np.ndarray) -> np.ndarray:
        positions, numbers = np.asarray(positions), np.empty(len(positions), np.int64)
        windows = (np.searchsorted(self._starts, positions, side="right") - 1) // self._blocks
        for window in np.unique(windows):
            chosen = windows == window
            firsts, sizes = self.blocks_of(int(window))
            starts = np.concatenate([[0], np.cumsum(sizes)])
            places = self.places(int(window), positions[chosen])
            block = np.searchsorted(starts, places, side="right") - 1
            numbers[chosen] = firsts[block] + places - starts[block]
        return numbers


class AsItLies(WindowedOrder):
    """No other order than that of the data, for what is read a window of blocks at a time and not shuffled.

    Args:
        firsts, sizes: of the blocks, in the order of the data.
        window: blocks of a window.
    """

    def __init__(self, firsts: np.ndarray, sizes: np.ndarray, window: int):
        self._firsts, self._sizes, self._blocks, self.count = firsts, sizes, window, int(sizes.sum())
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    def places(self, window: int, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions) - self.window_range(window)[0]

    def indices(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions).astype(np.int64)
