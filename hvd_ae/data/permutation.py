"""A random order that is computed and not stored: any position of it, of any number of samples, at once.

A Feistel network (Luby and Rackoff 1988, https://doi.org/10.1137/0217022) permutes all numbers of so many bits; what falls
outside the range is permuted again until it falls inside (Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9).
Integer arithmetic alone: the same order on every machine, and with every version of every library.
"""

import numpy as np

_ROUNDS = 8
_FEWEST_BITS = 8  # of fewer bits a network has too few permutations to choose from


class Permutation:
    """A permutation of 0 to `count` - 1 that depends on these numbers of the key alone, each key having one of its own."""

    def __init__(self, count: int, *key: int):
        self.count = count
        bits = max(_FEWEST_BITS, (count - 1).bit_length() if count else 0)
        self._low_bits = np.uint64(bits // 2)
        self._low, self._high = (np.uint64((1 << part) - 1) for part in (bits // 2, bits - bits // 2))
        self._keys = _round_keys(key)
        self._few: np.ndarray | None = None
        if bits == _FEWEST_BITS:  # most numbers would fall outside again and again: take those inside as they come
            every = self._permuted(np.arange(1 << bits, dtype=np.uint64))
            self._few = every[every < count].astype(np.int64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """The numbers at these positions, int64."""
        if self._few is not None:
            return self._few[positions]
        numbers = self._permuted(np.asarray(positions).astype(np.uint64))
        outside = np.flatnonzero(numbers >= np.uint64(self.count))
        while outside.size:
            numbers[outside] = self._permuted(numbers[outside])
            outside = outside[numbers[outside] >= np.uint64(self.count)]
        return numbers.astype(np.int64)

    def _permuted(self, numbers: np.ndarray) -> np.ndarray:
        low, high = numbers & self._low, numbers >> self._low_bits
        for turn, key in enumerate(self._keys):
            if turn % 2:
                high = high ^ (mixed(low ^ key) & self._high)
            else:
                low = low ^ (mixed(high ^ key) & self._low)
        return (high << self._low_bits) | low


_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Each uint64 turned into another that looks like chance: the last step of SplitMix64.

    Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195. Arithmetic of arrays is modulo 2**64.
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(_FIRST)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(_SECOND)
    return numbers ^ (numbers >> np.uint64(31))


def _mixed_number(number: int) -> int:
    """The same for one number, many times faster than an array of it."""
    number = (number ^ (number >> 30)) * _FIRST & _WORD
    number = (number ^ (number >> 27)) * _SECOND & _WORD
    return number ^ (number >> 31)


def _round_keys(key: tuple[int, ...]) -> list[np.uint64]:
    """Numbers that depend on every number of the key, on its place, and on how many there are."""
    state = len(key)
    for number in map(int, key):
        for word in (number & _WORD, number >> 64):
            state = _mixed_number((state + _GOLDEN + _mixed_number((word + _GOLDEN) & _WORD)) & _WORD)
    return [np.uint64(_mixed_number((state + _GOLDEN * turn) & _WORD)) for turn in range(1, _ROUNDS + 1)]
