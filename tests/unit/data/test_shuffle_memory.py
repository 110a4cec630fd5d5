"""What fits into memory, and the amount that a refusal names."""

import numpy as np
import pytest

from hvd_ae.data.shuffle_memory import Kept, memory_of, plan_memory
from hvd_ae.data.source import SAMPLES, BlockSource, Field
from hvd_ae.errors import Refused
from hvd_ae.settings.units import bytes_as_text, parse_bytes


class Chunked(BlockSource):
    """Ten thousand blocks of ten samples of 40 bytes, which nobody reads."""

    def __init__(self):
        field = Field.of_numbers((10,), np.dtype(np.float32))
        super().__init__("chunked", {SAMPLES: field}, 100_000, np.arange(0, 100_000, 10))

    def _decode(self, block, fields):
        raise AssertionError("nobody reads")


def planned(given, partition="reshuffled", ranks=2):
    return plan_memory(Chunked(), [SAMPLES], partition, ranks, given, free=0)


@pytest.mark.parametrize("given, kept, window", [
    (8_000_000, Kept.BY_EACH, None), (7_999_999, Kept.BY_ALL, None), (4_000_000, Kept.BY_ALL, None),
    (3_999_999, Kept.WINDOWS, 4999), (80_000, Kept.WINDOWS, 100), (800, Kept.WINDOWS, 1)])
def test_what_fits(given, kept, window):
    """4 MB of samples, 400 bytes a block, two windows in memory."""
    assert (planned(given).kept, planned(given).window) == (kept, window)


def test_the_memory_that_gives_a_window_gives_it_again():
    for window in (None, 1, 7, 1999, 4999):
        assert planned(memory_of(Chunked(), [SAMPLES], window)).window == window
    rounded = parse_bytes(bytes_as_text(memory_of(Chunked(), [SAMPLES], 1999)))
    assert planned(rounded).window == 2000  # why a run that goes on is told the amount to the byte


@pytest.mark.parametrize("given, partition, sentence", [
    (799, "reshuffled", r"largest block has 400B: give --shuffle-memory 800B"),
    (1599, "contiguous", r"give --shuffle-memory 1\.6KB"),
    (80_000, "strided", r"use --shuffle-memory 4MB, or another partition"),
])
def test_too_little_memory_is_refused_with_an_amount_that_will_do(given, partition, sentence):
    with pytest.raises(Refused, match=sentence):
        planned(given, partition)
