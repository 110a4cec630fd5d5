"""What every data format gives: samples made of named fields, in blocks that are read and decoded at once."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.normalization import Normalization
from hvd_ae.errors import Refused

SAMPLES, LABELS = "samples", "labels"  # the fields of formats that do not name their own
TARGETS, CONDITION = "targets", "condition"  # what outputs are compared with, and a second input, where the user names them
NUMBER, EPOCH = "sample number", "epoch"  # no fields of a source: what random draws are a function of, int64, one a sample


@dataclass(frozen=True)
class Field:
    """One named array of every sample."""

    shape: tuple[int, ...]  # of one sample's; () for a number
    dtype: np.dtype  # as it is read: uint8 stays so, which is a quarter of the memory to move; other values are float32
    scale: float = 1.0  # what the model sees is the value as float32 times this
    bytes_stored: int = 0  # of one sample's, in memory or, before compression, in the file; 0 where it is computed
    names: tuple[str, ...] = ()  # of the classes 0, 1, ..., where the format has them
    normalization: Normalization | None = None  # of the scaled value, before a model sees it

    @classmethod
    def of_values(cls, array: np.ndarray) -> "Field":
        """Of an array (count, ...) of what a model sees: bytes become 0 to 1, all else float32."""
        return cls.of_numbers(array.shape[1:], array.dtype)

    @classmethod
    def of_numbers(cls, shape: tuple[int, ...], dtype: np.dtype) -> "Field":
        """Of what a model sees, where a sample has this shape and its numbers lie as this dtype."""
        is_bytes = dtype == np.uint8
        return cls(tuple(shape), np.dtype(np.uint8 if is_bytes else np.float32), 1.0 / 255.0 if is_bytes else 1.0,
                   math.prod(shape) * dtype.itemsize)

    @classmethod
    def of_classes(cls, array: np.ndarray, names: Sequence[str] = ()) -> "Field":
        """Of an array (count,) of whole numbers that name something."""
        return cls((), np.dtype(np.int64), 1.0, array.dtype.itemsize, tuple(names))

    def as_seen(self, values: np.ndarray) -> np.ndarray:
        """What the model sees of values as they are read, float32."""
        scaled = values.astype(np.float32) * np.float32(self.scale)
        return scaled if self.normalization is None else self.normalization.seen(scaled)

    @property
    def bytes_read(self) -> int:
        """Of one sample's, once it is read."""
        return math.prod(self.shape) * self.dtype.itemsize


class Source(ABC):
    """Samples of one data set. A format is a subclass; everything else here goes by these fields and methods alone.

    name: what the user gave, for messages.
    fields: by name, what each sample is made of.
    count: the number of samples.
    reads_single_samples: whether one sample costs no more than its own bytes; else a whole block is read and decoded for it.
    in_memory: whether all samples are in this process's memory, or made there.
    """

    name: str
    fields: Mapping[str, Field]
    count: int
    reads_single_samples = True
    in_memory = False

    @abstractmethod
    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Each of these fields of the samples with these numbers, in their order: (len(indices), *shape) of its dtype.

        Arrays are new and contiguous. Only what is asked for is read, and it is read now, not when it is first used.
        """

    @property
    def block_starts(self) -> np.ndarray:
        """The number of the first sample of each block: what the format reads at once, or a stretch that is cheap to read."""
        each = max(1, self.bytes_stored)
        return np.arange(0, self.count, max(1, bytes_a_block(self.count * each, _MOST_BYTES_A_BLOCK) // each))

    def block_range(self, block: int) -> tuple[int, int]:
        """The number of a block's first sample, and of the first one after it."""
        starts = self.block_starts
        return int(starts[block]), int(starts[block + 1]) if block + 1 < len(starts) else self.count

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Each of these fields of all samples of a block."""
        return self.read(np.arange(*self.block_range(block)), fields)

    @property
    def bytes_stored(self) -> int:
        """Of one sample as it lies, all fields together."""
        return sum(field.bytes_stored for field in self.fields.values())

    def number(self, index: int) -> int | str:
        """What the user would call the sample of this number, for messages."""
        return index

    def seen(self, indices: np.ndarray, field: str = SAMPLES) -> np.ndarray:
        """A field of the samples with these numbers as the model sees it, float32."""
        return self.fields[field].as_seen(self.read(indices, [field])[field])

    def read_all(self, field: str) -> np.ndarray:
        """One field of all samples; meant for small ones, such as classes."""
        return self.read(np.arange(self.count), [field])[field]


_MOST_BYTES_A_BLOCK = 16 << 20


class BlockSource(Source):
    """Samples that are read and decoded a block at a time. A format gives `_decode`; what can go wrong there is told here.

    Args:
        block_starts: int64, the number of each block's first sample, ascending from 0.
        files: what the samples lie in; a file that changes while the source is open is refused.
    """

    reads_single_samples = False
    block_starts: np.ndarray = None

    def __init__(self, name: str, fields: Mapping[str, Field], count: int, block_starts: np.ndarray,
                 files: Sequence[Path] = ()):
        self.name, self.fields, self.count = name, dict(fields), int(count)
        self.block_starts = np.asarray(block_starts, np.int64)
        self._stamps = {path: stamp(path) for path in files}
        self._last: tuple[int, dict[str, np.ndarray]] = (-1, {})  # read on from one call to the next

    @abstractmethod
    def _decode(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Each of these fields of all samples of a block, contiguous, of its dtype; any exception means a bad file."""

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        first, end = self.block_range(block)
        try:
            for path, then in self._stamps.items():
                if stamp(path) != then:
                    raise Refused(f"data={self.name!r}: {path} has changed since this run opened it: start again, with files "
                                  "that stay as they are")
            read = self._decode(block, fields)
            for name in fields:
                expected = (end - first, *self.fields[name].shape)
                if read[name].shape != expected or read[name].dtype != self.fields[name].dtype:
                    raise ValueError(f"{name} of shape {read[name].shape} and type {read[name].dtype} where {expected} of "
                                     f"{self.fields[name].dtype} was declared")
            return read
        except (Refused, MemoryError):
            raise
        except Exception as error:  # each format's library has its own
            raise Refused(f"data={self.name!r} cannot be read in samples {self.number(first)} to {self.number(end - 1)} "
                          f"({type(error).__name__}: {' '.join(str(error).split())[:200]}): copy or write the file anew"
                          ) from error

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        indices = np.asarray(indices)
        chosen = {name: np.empty((len(indices), *self.fields[name].shape), self.fields[name].dtype) for name in fields}
        blocks = np.searchsorted(self.block_starts, indices, side="right") - 1
        for block in np.unique(blocks):
            wanted = np.flatnonzero(blocks == block)
            last, values = self._last
            if last != block or not set(fields) <= values.keys():
                values = self.read_block(int(block), fields)
                self._last = int(block), values
            for name in fields:
                chosen[name][wanted] = values[name][indices[wanted] - self.block_starts[block]]
        return chosen


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes with a file's content: size in bytes, time of the last change in nanoseconds, and inode."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def as_read(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in the dtype that is read, contiguous; what is too large for float32 becomes inf, which `checks` refuses."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype)


class Part(Source):
    """Consecutive samples of another source."""

    def __init__(self, whole: Source, first: int, count: int):
        self.name, self.fields, self.count = whole.name, whole.fields, count
        self.reads_single_samples, self.in_memory = whole.reads_single_samples, whole.in_memory
        self._whole, self._first = whole, first
        starts = np.asarray(whole.block_starts) - first
        self._starts = np.concatenate([[0], starts[(starts > 0) & (starts < count)]]).astype(np.int64)

    @property
    def block_starts(self) -> np.ndarray:
        return self._starts

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self._whole.read(np.asarray(indices) + self._first, fields)

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        if self.reads_single_samples:
            return super().read_block(block, fields)
        first, end = (number + self._first for number in self.block_range(block))
        of_whole = int(np.searchsorted(self._whole.block_starts, first, side="right")) - 1
        begins, ends = self._whole.block_range(of_whole)
        read = self._whole.read_block(of_whole, fields)
        if (first, end) == (begins, ends):
            return read
        return {name: values[first - begins : end - begins].copy() for name, values in read.items()}

    def number(self, index: int) -> int | str:
        return self._whole.number(index + self._first)


class WithField(Source):
    """A source with a field added, or put in another's place.

    Args:
        values: (count, ...), in memory.
    """

    def __init__(self, source: Source, name: str, values: np.ndarray, field: Field):
        self.name, self.count = source.name, source.count
        self.reads_single_samples, self.in_memory = source.reads_single_samples, source.in_memory
        self.fields = {**source.fields, name: field}
        self._source, self._added, self._values = source, name, values

    @property
    def block_starts(self) -> np.ndarray:
        return self._source.block_starts

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self._with_added(self._source.read(indices, self._others(fields)), indices, fields)

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        stretch = np.arange(*self.block_range(block))
        return self._with_added(self._source.read_block(block, self._others(fields)), stretch, fields)

    def _others(self, fields: Sequence[str]) -> list[str]:
        return [name for name in fields if name != self._added]

    def _with_added(self, read: dict[str, np.ndarray], indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        if self._added in fields:
            read[self._added] = as_read(self._values[indices], self.fields[self._added].dtype)
        return read

    def number(self, index: int) -> int | str:
        return self._source.number(index)


@dataclass(frozen=True)
class Splits:
    """Training and validation samples with the same fields."""

    train: Source
    validation: Source
