"""The order of samples in an epoch: a function of (seed, epoch, layout, window), never of the ranks (law 5).

Where all samples fit into memory it is a uniform permutation, the same for every format. Else blocks come in a random
order, so many at a time as fit, a window, and each window takes of every stretch of the data alike; the samples of a window
come in a random order; and the windows' samples follow one another.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from hvd_ae.data.permutation import Permutation

_SAMPLES, _BLOCKS, _WINDOWS = 0, 1, 2  # keeps the permutations of one key apart
_DEALING = 2  # raised when a window is given other blocks than before: a run cannot go on in an order of another kind


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
    """Each window has blocks that are chosen at random, one of every stretch of the data, and its samples in a random order.

    Of data in stretches of as many consecutive blocks as there are windows, each window gets one block a stretch
    (stratified sampling: Cochran 1977, Sampling Techniques, chapter 5): where neighbours are alike, sorted by class for
    instance, windows then resemble all the data, as those of any blocks do not.

    Args:
        firsts: int64 (blocks,), the number of each block's first sample.
        sizes: int64 (blocks,), samples of each.
        window: blocks of a window, at most.
        key: what the permutations depend on.
    """

    def __init__(self, firsts: np.ndarray, sizes: np.ndarray, window: int, *key: int):
        blocks = np.argsort(firsts, kind="stable")
        windows, turns = -(-len(blocks) // window), Permutation(len(blocks), *key, _BLOCKS)(np.arange(len(blocks)))
        window_of = np.arange(len(blocks)) % max(1, windows)
        short = len(blocks) - len(blocks) % max(1, windows)  # where the last stretch begins, should it have fewer blocks
        window_of[short:] = Permutation(windows, *key, _WINDOWS)(np.arange(len(blocks) - short))
        within = np.lexsort((turns, np.arange(len(blocks)) // max(1, windows)))  # each stretch's blocks in a random order
        chosen = blocks[within[np.argsort(window_of, kind="stable")]]
        self._lay_out(firsts[chosen], sizes[chosen], np.bincount(window_of, minlength=windows), *key)

    def _lay_out(self, firsts: np.ndarray, sizes: np.ndarray, blocks: np.ndarray, *key: int) -> None:
        """Blocks in their order, and how many of them each window has."""
        self._firsts, self._sizes, self.count, self._key = firsts, sizes, int(sizes.sum()), key
        self._starts = np.concatenate([[0], np.cumsum(sizes)])  # position at which each block's samples begin
        self._begins = np.concatenate([[0], np.cumsum(blocks)])  # the block with which each window begins
        self._most_blocks = int(blocks.max(initial=0))

    @property
    def largest_block(self) -> int:
        """Samples of the largest block."""
        return int(self._sizes.max(initial=0))

    @property
    def most_samples(self) -> int:
        """No window has more, whichever blocks it is of."""
        return min(self.count, self._most_blocks * self.largest_block)

    def window_of(self, position: int) -> int:
        """The number of the window that a position lies in."""
        return int(self._windows_of(position))

    def _windows_of(self, positions: np.ndarray) -> np.ndarray:
        blocks = np.searchsorted(self._starts, positions, side="right") - 1
        return np.searchsorted(self._begins, blocks, side="right") - 1

    def window_range(self, window: int) -> tuple[int, int]:
        """The first position of a window, and the first after it."""
        first, end = self._starts[self._begins[window : window + 2]]
        return int(first), int(end)

    def blocks_of(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """The number of the first sample, and the samples, of each block of a window."""
        chosen = slice(*self._begins[window : window + 2])
        return self._firsts[chosen], self._sizes[chosen]

    def places(self, window: int, positions: np.ndarray) -> np.ndarray:
        """Where the samples at positions of one window lie when its blocks' samples are put one after the other, int64."""
        first, end = self.window_range(window)
        return Permutation(end - first, *self._key, _SAMPLES, window)(np.asarray(positions) - first)

    def indices(self, positions: np.ndarray) -> np.ndarray:
        positions, numbers = np.asarray(positions), np.empty(len(positions), np.int64)
        windows = self._windows_of(positions)
        for window in np.unique(windows):
            chosen = windows == window
            firsts, sizes = self.blocks_of(int(window))
            starts = np.concatenate([[0], np.cumsum(sizes)])
            places = self.places(int(window), positions[chosen])
            block = np.searchsorted(starts, places, side="right") - 1
            numbers[chosen] = firsts[block] + places - starts[block]
        return numbers


def layout_digest(block_starts: np.ndarray) -> int:
    """A number that differs where the blocks do of which windows are made, or the way in which windows get them."""
    return zlib.crc32(np.asarray(block_starts, "<i8").tobytes(), _DEALING)


class AsItLies(WindowedOrder):
    """No other order than that of the data, for what is read a window of blocks at a time and not shuffled.

    Args:
        firsts, sizes: of the blocks, in the order of the data.
        window: blocks of a window.
    """

    def __init__(self, firsts: np.ndarray, sizes: np.ndarray, window: int):
        self._lay_out(firsts, sizes, np.bincount(np.arange(len(firsts)) // window))

    def places(self, window: int, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions) - self.window_range(window)[0]

    def indices(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions).astype(np.int64)
