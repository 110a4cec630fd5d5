"""A source whose samples are read a block at a time, as those of chunked files, and that counts what it decodes."""

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import SAMPLES, BlockSource, Field, Splits

RANDOM = np.random.default_rng(17)
VALUES = RANDOM.random((211, 4), np.float32)  # of all ranks; no two samples are alike
LABELS_OF = np.arange(211) // 30
STARTS = np.array([0, 16, 32, 48, 64, 70, 96, 112, 128, 144, 160, 176, 192])
VALIDATION = RANDOM.random((30, 4), np.float32)


class Blocks(BlockSource):
    """Values in memory, given out as if they lay in blocks of a file."""

    def __init__(self, values, starts=STARTS):
        super().__init__("blocks", {SAMPLES: Field.of_values(values)}, len(values), starts)
        self._values, self.decoded = values, []

    def _decode(self, block, fields):
        self.decoded.append(block)
        first, end = self.block_range(block)
        return {SAMPLES: self._values[first:end].copy()}


def block_splits() -> Splits:
    return Splits(Blocks(VALUES), from_arrays("validation", VALIDATION))


def array_splits() -> Splits:
    return Splits(from_arrays("arrays", VALUES), from_arrays("validation", VALIDATION))
