"""What is true of every format: one check, called by each format's own tests with files that its own library has written."""

import random
from pathlib import Path

import numpy as np

from hvd_ae.data.load import load_all
from hvd_ae.data.source import SAMPLES, Source
from hvd_ae.errors import Refused


def assert_holds(source: Source, samples: np.ndarray, field: str = SAMPLES) -> None:
    """The source gives these values, (count, *shape) in the dtype in which they are read, however it is asked."""
    declared = source.fields[field]
    assert (source.count, declared.shape, declared.dtype) == (len(samples), samples.shape[1:], samples.dtype)
    starts = source.block_starts
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < source.count
    by_blocks = [source.read_block(block, [field])[field] for block in range(len(starts))]
    np.testing.assert_array_equal(np.concatenate(by_blocks), samples)
    scattered = np.random.default_rng(0).integers(source.count, size=50)
    for indices in (np.arange(source.count), scattered, np.array([source.count - 1]), np.array([], np.int64)):
        read = source.read(indices, [field])[field]
        np.testing.assert_array_equal(read, samples[indices])
        assert read.dtype == samples.dtype
        assert read.flags.c_contiguous
        assert read.flags.owndata or read.base is not None
    read[...] = 0  # what was read is the reader's own
    np.testing.assert_array_equal(source.read(scattered, [field])[field], samples[scattered])


def opened(path, **given) -> Source:
    return load_all(str(path), **given)


def assert_survives_damage(data: Path, file: Path, times: int = 30, **given) -> None:
    """However a few bytes of the file are changed, or wherever it is cut short, it is read, or refused in one sentence."""
    chance, content, refusals = random.Random(7), file.read_bytes(), 0
    for _ in range(times):
        changed = bytearray(content)
        for _ in range(chance.choice([1, 2, 8])):
            end = min(len(changed), 300)  # heads and tails of files describe the rest
            at = chance.choice([chance.randrange(len(changed)), chance.randrange(end), -1 - chance.randrange(end)])
            changed[at] = chance.choice([chance.randrange(256), changed[at] ^ 1 << chance.randrange(8), 0, 255])
        file.write_bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.2 else changed)
        try:
            source = opened(data, **given)
            for block in {0, len(source.block_starts) - 1}:
                source.read_block(block, list(source.fields))
        except Refused as refusal:
            refusals += 1
            assert str(data) in str(refusal)
            assert "\n" not in str(refusal)
            assert str(refusal).count("data=") <= 1  # no sentence within another
    file.write_bytes(content)
    assert refusals
