"""Samples made up on the spot, reproducible, with something for an autoencoder to find."""

import math
import re

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.partition import generator
from hvd_ae.data.source import Splits
from hvd_ae.errors import Refused

_SAMPLES_A_BLOCK = 1024
_FACTORS = 10
_COMMON, _BLOCK = 11, 12  # keep the streams of one seed apart from each other, and from those of partition.py


def knows(name: str) -> bool:
    return name == "synthetic" or name.startswith("synthetic:")


def load(data: str, seed: int) -> Splits:
    """Training and validation samples of `synthetic:COUNTxDIM`, for instance synthetic:4096x28x28; a tenth validates.

    float32 within 0 to 1, near a curved surface of ten dimensions, in ten clusters that are the labels. Samples depend on
    the seed, the shape and their own number only: fewer samples are the first of more.

    Raises:
        Refused: not of that form, fewer than two samples, or more than fit in memory.
    """
    given = re.fullmatch(r"synthetic(?::(\d+)((?:x[1-9]\d*)+))?", data)
    if not given:
        raise Refused(f"data={data!r} is not of the form synthetic:COUNTxDIM: write for instance synthetic:4096x784")
    count = int(given[1] or 4096)
    shape = tuple(int(part) for part in (given[2] or "x784").split("x")[1:])
    if count < 2:
        raise Refused(f"data={data!r} has {count} samples: there must be at least two, one to train and one to validate")
    try:
        values, labels = make_samples(0, count, shape, seed)
    except (MemoryError, ValueError):
        raise Refused(f"data={data!r} needs {4 * count * math.prod(shape) / 2**30:.0f} GiB of memory on every rank: "
                      "ask for fewer samples") from None
    end = count - max(1, count // 10)
    return Splits(from_arrays(data, values[:end], labels[:end]), from_arrays(data, values[end:], labels[end:]))


def make_samples(start: int, stop: int, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows `start` to `stop`, (samples, *shape) float32, and their labels, int64; no other samples need be made for them.

    They are made in blocks, each from a stream of random numbers of its own.
    """
    values, labels = np.empty((stop - start, *shape), np.float32), np.empty(stop - start, np.int64)
    common = generator(seed, _COMMON)
    centres = common.normal(size=(10, _FACTORS))
    mixing = common.normal(size=(_FACTORS, math.prod(shape))).astype(np.float32)
    for block in range(start // _SAMPLES_A_BLOCK, -(-stop // _SAMPLES_A_BLOCK)):
        first = block * _SAMPLES_A_BLOCK
        random = generator(seed, _BLOCK, block)
        block_labels = random.integers(10, size=_SAMPLES_A_BLOCK)
        factors = centres[block_labels] + 0.3 * random.normal(size=(_SAMPLES_A_BLOCK, _FACTORS))
        # whole blocks even where fewer samples are wanted: another shape of the product could round otherwise
        block_values = (1.0 / (1.0 + np.exp(-factors.astype(np.float32) @ mixing))).reshape(-1, *shape)
        low, high = max(first, start), min(first + _SAMPLES_A_BLOCK, stop)
        values[low - start : high - start] = block_values[low - first : high - first]
        labels[low - start : high - start] = block_labels[low - first : high - first]
    return values, labels
