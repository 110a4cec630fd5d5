"""What every data format gives: samples made of named fields, of which any can be read by their numbers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hvd_ae.errors import Refused

SAMPLES, LABELS = "samples", "labels"  # the fields of formats that do not name their own


@dataclass(frozen=True)
class Field:
    """One named array of every sample."""

    shape: tuple[int, ...]  # of one sample's; () for a number
    dtype: np.dtype  # as it is read: uint8 stays so, which is a quarter of the memory to move; other values are float32
    scale: float = 1.0  # what the model sees is the value as float32 times this
    bytes_stored: int = 0  # of one sample's, in the file or in memory

    @classmethod
    def of_values(cls, array: np.ndarray) -> "Field":
        """Of an array (count, ...) of what a model sees: bytes become 0 to 1, all else float32."""
        is_bytes = array.dtype == np.uint8
        stored = math.prod(array.shape[1:]) * array.dtype.itemsize
        return cls(array.shape[1:], np.dtype(np.uint8 if is_bytes else np.float32), 1.0 / 255.0 if is_bytes else 1.0, stored)

    @classmethod
    def of_classes(cls, array: np.ndarray) -> "Field":
        """Of an array (count,) of whole numbers that name something."""
        return cls((), np.dtype(np.int64), 1.0, array.dtype.itemsize)

    def as_seen(self, values: np.ndarray) -> np.ndarray:
        """What the model sees of values as they are read, float32."""
        return values.astype(np.float32) * np.float32(self.scale)


class Source(ABC):
    """Samples of one data set. A format is a subclass; everything else here goes by these fields and methods alone.

    name: what the user gave, for messages.
    fields: by name, what each sample is made of.
    count: the number of samples.
    """

    name: str
    fields: Mapping[str, Field]
    count: int

    @abstractmethod
    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """Each of these fields of the samples with these numbers, in their order: (len(indices), *shape) of its dtype.

        Arrays are new and contiguous. Only what is asked for is read, and it is read now, not when it is first used.
        """

    @property
    def block_starts(self) -> np.ndarray:
        """The number of the first sample of each block: what the format reads at once, or a stretch that is cheap to read."""
        bytes_each = max(1, sum(field.bytes_stored for field in self.fields.values()))
        return np.arange(0, self.count, max(1, _BYTES_A_BLOCK // bytes_each))

    def number(self, index: int) -> int:
        """What the user would call the sample of this number, for messages."""
        return index

    def seen(self, indices: np.ndarray, field: str = SAMPLES) -> np.ndarray:
        """A field of the samples with these numbers as the model sees it, float32."""
        return self.fields[field].as_seen(self.read(indices, [field])[field])

    def read_all(self, field: str) -> np.ndarray:
        """One field of all samples; meant for small ones, such as classes."""
        return self.read(np.arange(self.count), [field])[field]


_BYTES_A_BLOCK = 16 << 20


class Part(Source):
    """Consecutive samples of another source."""

    def __init__(self, whole: Source, first: int, count: int):
        self.name, self.fields, self.count = whole.name, whole.fields, count
        self._whole, self._first = whole, first

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self._whole.read(np.asarray(indices) + self._first, fields)

    def number(self, index: int) -> int:
        return self._whole.number(index + self._first)


class WithField(Source):
    """A source with a field added, or put in another's place.

    Args:
        values: (count, ...), in memory.
    """

    def __init__(self, source: Source, name: str, values: np.ndarray, field: Field):
        self.name, self.count = source.name, source.count
        self.fields = {**source.fields, name: field}
        self._source, self._added, self._values = source, name, values

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        read = self._source.read(indices, [name for name in fields if name != self._added])
        if self._added in fields:
            read[self._added] = self._values[indices].astype(self.fields[self._added].dtype)
        return read

    def number(self, index: int) -> int:
        return self._source.number(index)


@dataclass(frozen=True)
class Splits:
    """Training and validation samples with the same fields."""

    train: Source
    validation: Source


def check_sample_kind(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse an array (count, ...) that cannot be what a model sees.

    Raises:
        Refused: no real numbers, fewer than two dimensions, or no values at all.
    """
    if dtype.hasobject:
        raise Refused(f"data={name!r} holds Python objects, which are never unpickled: save numbers of one type, such "
                      "as float32")
    if dtype.kind not in "fiub":
        raise Refused(f"data={name!r} holds values of type {dtype}: samples must be real numbers; save them as float32")
    if len(shape) < 2:
        raise Refused(f"data={name!r} has shape {shape}: samples need a first dimension that counts them and at least one "
                      "more; reshape, for instance to (samples, features)")
    if 0 in shape:
        raise Refused(f"data={name!r} has shape {shape}, which holds no samples: give at least one")


def check_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels as (count,) int64; a column (count, 1), as some data sets have it, will do.

    Raises:
        Refused: not one whole number for each sample.
    """
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
        raise Refused(f"{name!r} holds labels of shape {labels.shape} and type {labels.dtype}: there must be one whole "
                      f"number for each of the {count} samples")
    return labels.reshape(count).astype(np.int64)
