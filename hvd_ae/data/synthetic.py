"""Samples computed from their numbers, reproducible, with something for an autoencoder to find."""

import math
import re
from collections.abc import Sequence

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.partition import generator
from hvd_ae.data.source import LABELS, SAMPLES, Field, Part, Source, Splits
from hvd_ae.errors import Refused

_FACTORS, _CLASSES = 10, 10
_COMMON, _KEY = 11, 12  # keep the streams of one seed apart from each other, and from those of partition.py
_IN_MEMORY = 64 << 20  # bytes of a set that is made at once, since it is read many times
_MOST, _MOST_A_SAMPLE = 1 << 47, 1 << 28  # bytes: 128 TiB, of which the list of blocks is 64 MB; and 256 MiB
_MOST_BYTES_A_BLOCK = 16 << 20
_NUMBERS_AT_A_TIME = 1 << 16  # that stay in a core's cache while the factors are added up
_SAMPLES_AT_A_TIME = 4096
_LOW_16, _LOW_32 = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)


def knows(name: str) -> bool:
    return name == "synthetic" or name.startswith("synthetic:")


def load(data: str, seed: int) -> Splits:
    """Training and validation samples of `synthetic:COUNTxDIM`, for instance synthetic:4096x28x28; a tenth validates.

    float32 within 0 to 1, near a curved surface of ten dimensions, in ten clusters that are the labels. Samples depend on
    the seed, the shape and their own number only: fewer samples are the first of more. Many need no memory.

    Raises:
        Refused: not of that form, fewer than two samples, or more than can be counted.
    """
    given = re.fullmatch(r"synthetic(?::(\d+)((?:x[1-9]\d*)+))?", data)
    if not given:
        raise Refused(f"data={data!r} is not of the form synthetic:COUNTxDIM: write for instance synthetic:4096x784")
    count = int(given[1] or 4096)
    shape = tuple(int(part) for part in (given[2] or "x784").split("x")[1:])
    if count < 2:
        raise Refused(f"data={data!r} has {count} samples: there must be at least two, one to train and one to validate")
    bytes_each = 4 * math.prod(shape)
    if bytes_each > _MOST_A_SAMPLE:
        raise Refused(f"data={data!r} has samples of {bytes_each / 2**30:,.1f} GiB, where {_MOST_A_SAMPLE >> 20} MiB is the "
                      "most: ask for smaller ones")
    if count * bytes_each > _MOST:
        raise Refused(f"data={data!r} are {count * bytes_each / 2**40:,.0f} TiB of samples, where {_MOST >> 40} are the most: "
                      "ask for fewer samples")
    end = count - max(1, count // 10)
    if count * bytes_each <= _IN_MEMORY:
        values, labels = make_samples(0, count, shape, seed)
        return Splits(from_arrays(data, values[:end], labels[:end]), from_arrays(data, values[end:], labels[end:]))
    source = Computed(data, count, shape, seed)
    return Splits(Part(source, 0, end), Part(source, end, count - end))


def make_samples(start: int, stop: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples `start` to `stop`, (samples, *shape) float32, and their labels, int64; no others need be made for them."""
    source, indices = Computed("synthetic", stop, shape, seed), np.arange(start, stop)
    read = source.read(indices, [SAMPLES, LABELS])
    return read[SAMPLES], read[LABELS]


class Computed(Source):
    """Samples that are made when they are read, and lie nowhere.

    A sample's class and factors are hashes of its number. What is made of them is one operation of NumPy on each number by
    itself, in the same order for any choice of samples: a product of matrices may round otherwise where it has more rows.
    """

    def __init__(self, name: str, count: int, shape: tuple[int, ...], seed: int):
        self.name, self.count = name, count
        self.fields = {SAMPLES: Field(tuple(shape), np.dtype(np.float32)), LABELS: Field((), np.dtype(np.int64))}
        common = generator(seed, _COMMON)
        self._centres = common.normal(size=(_CLASSES, _FACTORS)).astype(np.float32)
        self._mixing = common.standard_normal((_FACTORS, math.prod(shape)), np.float32)
        self._key = np.random.SeedSequence(seed, spawn_key=(_KEY,)).generate_state(1, np.uint64)

    @property
    def block_starts(self) -> np.ndarray:
        each = self.fields[SAMPLES].bytes_read
        return np.arange(0, self.count, max(1, bytes_a_block(self.count * each, _MOST_BYTES_A_BLOCK) // each))

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        indices = np.asarray(indices, np.int64)
        made = {LABELS: self._classes(indices), SAMPLES: self._samples(indices) if SAMPLES in fields else None}
        return {name: made[name] for name in fields}

    def _classes(self, indices: np.ndarray) -> np.ndarray:
        return ((self._hashes(indices, 0) >> 32) * np.uint64(_CLASSES) >> 32).astype(np.int64)

    def _samples(self, indices: np.ndarray) -> np.ndarray:
        samples = np.empty((len(indices), self._mixing.shape[1]), np.float32)
        rows = max(1, _NUMBERS_AT_A_TIME // samples.shape[1])
        product = np.empty((rows, samples.shape[1]), np.float32)
        for start in range(0, len(indices), _SAMPLES_AT_A_TIME):
            factors = self._factors(indices[start : start + _SAMPLES_AT_A_TIME])
            for first in range(0, len(factors), rows):
                some = factors[first : first + rows]
                made, each = samples[start + first : start + first + len(some)], product[: len(some)]
                np.multiply(some[:, :1], self._mixing[0], out=made)
                for factor in range(1, _FACTORS):
                    made += np.multiply(some[:, factor : factor + 1], self._mixing[factor], out=each)
                with np.errstate(over="ignore"):  # one over inf is 0, which is right
                    np.exp(made, out=made)  # of minus the sum: the factors have the other sign
                made += 1
                np.reciprocal(made, out=made)
        return samples.reshape(len(indices), *self.fields[SAMPLES].shape)

    def _factors(self, indices: np.ndarray) -> np.ndarray:
        """(samples, factors): minus the class's centre and a normal number, which is a sum of four uniform ones of 16 bits."""
        factors = np.empty((len(indices), _FACTORS), np.float32)
        for factor in range(_FACTORS):
            bits = self._hashes(indices, factor + 1)
            pairs = (bits & _LOW_16) + (bits >> 16 & _LOW_16)
            factors[:, factor] = (pairs + (pairs >> 32) & _LOW_32).astype(np.float32) - np.float32(2 * 65535)
        factors *= np.float32(0.3 / 65536 / math.sqrt(4 / 12))
        factors -= self._centres[self._classes(indices)]
        return factors

    def _hashes(self, indices: np.ndarray, stream: int) -> np.ndarray:
        """uint64 of each sample's number, in one of 16 streams: SplitMix64 (doi 10.1145/2660193.2660195)."""
        bits = (indices.astype(np.uint64) * np.uint64(16) + np.uint64(stream)) * np.uint64(0x9E3779B97F4A7C15) + self._key
        bits = (bits ^ bits >> 30) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ bits >> 27) * np.uint64(0x94D049BB133111EB)
        return bits ^ bits >> 31
