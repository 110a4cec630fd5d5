"""How fast samples are read by one process, measured for about as long as one allows."""

import time
from collections.abc import Sequence

import numpy as np

from hvd_ae.data.source import Source

_AT_RANDOM = 256  # samples at a time, where they are read one by one


def in_order(source: Source, fields: Sequence[str], seconds: float, first_block: int = 0) -> float:
    """Samples a second, block after block from this one on; at least one block is read."""
    blocks, samples, block, started = len(source.block_starts), 0, first_block, time.perf_counter()
    while not samples or time.perf_counter() - started < seconds:
        samples += len(source.read_block(block % blocks, fields)[fields[0]])
        block += 1
    return samples / max(time.perf_counter() - started, 1e-9)


def at_random(source: Source, fields: Sequence[str], seconds: float, seed: int = 0) -> float:
    """Samples a second, anywhere in the data; each alone where a whole block is decoded for it."""
    random, samples, started = np.random.default_rng(seed), 0, time.perf_counter()
    while not samples or time.perf_counter() - started < seconds:
        chosen = random.integers(source.count, size=_AT_RANDOM if source.reads_single_samples else 1)
        source.read(chosen, fields)
        samples += len(chosen)
    return samples / max(time.perf_counter() - started, 1e-9)
