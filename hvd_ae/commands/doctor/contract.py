"""Whether a reader of one's own keeps to what `hvd_ae/data/source.py` says of a `Source`: looked at in some of its blocks."""

from collections.abc import Iterator

import numpy as np

from hvd_ae.data.source import SAMPLES, Field, Source

_BLOCKS = 3  # the first, the last, and one between
_SAMPLES = 50  # at random


def broken(source: Source) -> str | None:
    """The first thing that does not hold, in a sentence; None where all that was looked at does."""
    try:
        return next(_faults(source), None)
    except Exception as error:  # of a user's own code
        return f"it raises {type(error).__name__} ({' '.join(str(error).split())[:200]})"


def _faults(source: Source) -> Iterator[str]:
    yield from _in_declaration(source)
    yield from _in_blocks(source)
    scattered = np.random.default_rng(0).integers(source.count, size=_SAMPLES if source.reads_single_samples else 3)
    for name in source.fields:
        first, end = source.block_range(0)
        some = np.arange(first, min(end, first + _SAMPLES))
        for what, indices in (("the last sample", np.array([source.count - 1])), ("no samples", np.array([], np.int64)),
                              ("consecutive samples", some), ("samples in any order, some of them twice", scattered)):
            read = source.read(indices, [name])
            if set(read) != {name}:
                yield f"read(..., [{name!r}]) returns {sorted(read)}: it must return the fields that are asked for"
            yield from _in_array(f"{name}, where {what} are read,".replace("sample are", "sample is"), read[name],
                                 source.fields[name], len(indices))
        singly = np.concatenate([source.read(np.array([index]), [name])[name] for index in scattered[:3]])
        kept = source.read(scattered[:3], [name])[name]
        if not _same(kept, singly):
            yield f"{name} of samples {scattered[:3].tolist()} differs when they are read together and one by one"
        kept[...] = 0
        if not _same(source.read(scattered[:3], [name])[name], singly):
            yield f"{name} that was read is not the reader's own: what is written into it is read again later; return a copy"


def _in_declaration(source: Source) -> Iterator[str]:
    if not (isinstance(source.name, str) and source.name):
        yield f"name is {source.name!r}: it must be a text, for messages"
    if SAMPLES not in source.fields or not all(isinstance(field, Field) for field in source.fields.values()):
        yield f"fields are {dict(source.fields)}: they must hold a Field for each name, and {SAMPLES!r} is one"
    if not isinstance(source.count, int | np.integer) or source.count < 1:
        yield f"count is {source.count!r}: it must be the number of samples, at least 1"
    starts = np.asarray(source.block_starts)
    if starts.ndim != 1 or not len(starts) or starts.dtype.kind not in "iu" or starts[0] != 0:
        yield "block_starts does not begin at 0: it must be whole numbers, that of each block's first sample"
    elif (np.diff(starts) <= 0).any() or starts[-1] >= source.count:
        yield f"block_starts does not ascend from 0 to below count={source.count}: each block must hold at least one sample"


def _in_blocks(source: Source) -> Iterator[str]:
    names, last = list(source.fields), len(source.block_starts) - 1
    for block in sorted({0, last // 2, last})[:_BLOCKS]:
        first, end = source.block_range(block)
        read = source.read_block(block, names)
        if set(read) != set(names):
            yield f"block {block} holds {sorted(read)}: it must hold {sorted(names)}, which are asked for"
        some = np.unique([first, (first + end) // 2, end - 1])
        for name in names:
            yield from _in_array(f"{name} of block {block}", read[name], source.fields[name], end - first)
            if not _same(source.read(some, [name])[name], read[name][some - first]):
                yield (f"{name} of samples {some.tolist()} differs between read and read_block({block}): both must give the "
                       "same")


def _in_array(what: str, array: np.ndarray, field: Field, count: int) -> Iterator[str]:
    if not isinstance(array, np.ndarray):
        yield f"{what} is a {type(array).__name__}: it must be a NumPy array"
    elif array.shape != (count, *field.shape) or array.dtype != field.dtype:
        yield (f"{what} has shape {array.shape} and type {array.dtype}: its Field declares {(count, *field.shape)} and "
               f"{field.dtype}")
    elif not array.flags.c_contiguous or not array.flags.writeable:
        yield f"{what} is not contiguous, or may not be written: return a new array (numpy.ascontiguousarray makes one)"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
