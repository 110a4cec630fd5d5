"""What a record of a TFRecord file holds: `tf.train.Example`, a protocol buffer, read without TensorFlow.

Example { Features features = 1; }   Features { map<string, Feature> feature = 1; }   (a map is entries of key = 1, value = 2)
Feature { oneof { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }   (lists of value = 1)
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

BYTES, FLOAT, INT64 = 1, 2, 3
DTYPES = {BYTES: np.dtype(np.uint8), FLOAT: np.dtype(np.float32), INT64: np.dtype(np.int64)}
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class Feature(NamedTuple):
    """A feature of a record: where its values lie, as (wire type, start, end) of each stretch of them."""

    kind: int
    stretches: Sequence[tuple[int, int, int]]

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Of records (records, bytes) that are laid out as this one: (records, count) of this kind's dtype."""
        if self.kind == BYTES and len(self.stretches) > 1:
            raise ValueError(f"a list of {len(self.stretches)} byte strings where one is needed")
        pieces = [_values(self.kind, wire, rows[:, start:end]) for wire, start, end in self.stretches]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((len(rows), 0), DTYPES[self.kind]), *pieces], 1)


def alike(rows: np.ndarray, wanted: Mapping[str, Feature], others: Mapping[str, Feature]) -> np.ndarray:
    """Which records (records, bytes) are laid out as the first, whose features these are: bool (records,).

    Most records of one length are: then all are read at once. All bytes but those of values have to be the same.
    """
    is_same, is_layout = np.ones(len(rows), bool), np.ones(rows.shape[1], bool)
    for name, (kind, stretches) in [*wanted.items(), *others.items()]:
        for _, start, end in stretches:
            is_layout[start:end] = False
            if kind == INT64 and name in wanted and end > start:  # numbers of other lengths may be fewer or more
                is_last = rows[:, start:end] < 128
                is_same &= is_last[:, -1] & (is_last.sum(1) == is_last[0].sum())
    layout = np.flatnonzero(is_layout)
    return is_same & (rows[:, layout] == rows[0, layout]).all(1)


def features_of(record: bytes) -> dict[str, Feature]:
    """The features of a record, by name.

    Raises:
        ValueError, IndexError: it is no Example.
    """
    found = {}
    for _, _, start, end in _fields(record, 0, len(record), 1):
        for _, _, first, last in _fields(record, start, end, 1):
            name, feature = "", None
            for number, _, begin, stop in _fields(record, first, last):
                if number == 1:
                    name = record[begin:stop].decode()
                elif number == 2:
                    feature = _feature(record, begin, stop)
            if feature is not None:
                found[name] = feature
    return found


def _feature(record: bytes, start: int, end: int) -> Feature | None:
    feature = None
    for kind, _, begin, stop in _fields(record, start, end):
        if kind in DTYPES:
            feature = Feature(kind, [(wire, at, until) for _, wire, at, until in _fields(record, begin, stop, 1)])
    return feature


def _fields(record: bytes, at: int, end: int, only: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, start and end of the fields of a message, or of those of one number."""
    while at < end:
        tag, start = _varint(record, at)
        wire = tag & 7
        if wire == _LENGTH:
            size, start = _varint(record, start)
            at = start + size
        elif wire == _VARINT:
            _, at = _varint(record, start)
        elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
            at = start + (4 if wire == _FOUR_BYTES else 8)
        else:
            raise ValueError(f"wire type {wire}, which no tf.train.Example has")
        if at > end:
            raise ValueError(f"a field of {at - start} bytes where {end - start} are left")
        if only is None or tag >> 3 == only:
            yield tag >> 3, wire, start, at


def _varint(record: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    byte = record[at]
    value, shift = byte & 127, 7
    while byte > 127:
        at += 1
        byte = record[at]
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number of more than ten bytes")
    return value, at + 1


def _values(kind: int, wire: int, columns: np.ndarray) -> np.ndarray:
    """Of a stretch in each record (records, bytes)."""
    if wire not in {BYTES: (_LENGTH,), FLOAT: (_LENGTH, _FOUR_BYTES), INT64: (_LENGTH, _VARINT)}[kind]:
        raise ValueError(f"wire type {wire} in a list of {DTYPES[kind]}")
    if kind != INT64:
        return np.ascontiguousarray(columns).view(DTYPES[kind].newbyteorder("<"))
    return _varints(columns.ravel()).reshape(len(columns), -1)


def _varints(stretch: np.ndarray) -> np.ndarray:
    """All numbers of a stretch of bytes, int64."""
    ends = np.flatnonzero(stretch < 128) + 1
    if len(stretch) == len(ends):  # all below 128
        return stretch.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    if not len(ends) or ends[-1] != len(stretch) or (ends - starts).max() > 10:
        raise ValueError("numbers that do not end")
    places = np.arange(len(stretch)) - np.repeat(starts, ends - starts)
    bits = (stretch & 127).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts).view(np.int64)
