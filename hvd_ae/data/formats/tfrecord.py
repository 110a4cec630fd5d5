"""TFRecord files (https://www.tensorflow.org/tutorials/load_data/tfrecord) of `tf.train.Example`, read without TensorFlow.

A record is its length (uint64, little-endian), the masked CRC32C of that, the Example, and the masked CRC32C of it. A
block is a run of records of about a megabyte, or the whole file where it is compressed.
"""

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from gzip import BadGzipFile
from pathlib import Path

import numpy as np

from hvd_ae.data.formats import crc32c, record_index, tfexample
from hvd_ae.data.source import SAMPLES, BlockSource, Field, Source, as_read
from hvd_ae.data.spec import Spec, field_beside
from hvd_ae.errors import Refused


def reads(path: Path) -> bool:
    """Also shards, as TensorFlow Datasets names them: x.tfrecord-00000-of-00008."""
    return re.search(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$", path.name) is not None


def read(spec: Spec) -> Source:
    """Samples of a feature of as many numbers in every record: floats, integers, or the bytes of a string (0 to 1 then).

    Raises:
        Refused: the file is missing or damaged, or has no such feature.
    """
    try:
        index = record_index.of_file(spec.path)
        if not index.count:
            raise Refused(f"data={spec.name!r} holds no records: give at least one")
        data, starts, lengths = _records(spec.path, index, 0)
    except OSError as error:
        if isinstance(error, BadGzipFile):
            raise _damaged(spec, error) from None
        raise Refused(f"data={spec.name!r} cannot be read ({error.strerror or error}): check the path") from None
    except (ValueError, EOFError, zlib.error) as error:
        raise _damaged(spec, error) from None
    try:
        first = data[starts[0] : starts[0] + lengths[0]][None]
        held = {name: (feature.kind, feature.values(first).shape[1])
                for name, feature in tfexample.features_of(first.tobytes()).items()
                if feature.kind != tfexample.BYTES or len(feature.stretches) == 1}
    except (ValueError, IndexError) as error:
        raise Refused(f"data={spec.name!r}: its first record is no tf.train.Example ({error}): write it with "
                      "tf.train.Example(...).SerializeToString()") from None
    return _Records(spec, index, *_chosen(spec, held, index.count))


def _damaged(spec: Spec, error: Exception) -> Refused:
    return Refused(f"data={spec.name!r} is no whole TFRecord file ({error}): copy or write it anew")


def _records(path: Path, index: record_index.Index, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of a block, where each record begins in them, and how long it is; checksums are compared."""
    content = index.bytes_of(path, block)
    starts, lengths = record_index.frames(content)
    data = np.frombuffer(content, np.uint8)
    found = crc32c.masked(data, starts, lengths)
    for position in np.flatnonzero(found != record_index.uint32_at(data, starts + lengths)):
        raise ValueError(f"record {index.starts[block] + position} is damaged: its checksum is another")
    return data, starts, lengths


def _chosen(spec: Spec, held: Mapping[str, tuple[int, int]], count: int) -> tuple[dict[str, str], dict[str, Field]]:
    """By field, the feature that holds it, and what it is."""
    member = spec.member or _default(spec, {name: kind for name, kind in held.items() if name not in spec.beside.values()})
    features, fields = {SAMPLES: member, **spec.beside}, {}
    for field, name in features.items():
        kind, size = held.get(name, (None, 0))
        if not size:
            what = "data" if field == SAMPLES else f"{field}={name!r}: data"
            raise Refused(f"{what}={spec.name!r} has no feature {name!r} with values: its first record has {_listed(held)}")
        dtype = tfexample.DTYPES[kind]
        fields[field] = (Field.of_numbers((size,), dtype) if field == SAMPLES else
                         field_beside(field, (count, size), dtype, count, name))
    return features, fields


def _default(spec: Spec, held: Mapping[str, tuple[int, int]]) -> str:
    """The only feature of floats, or else the largest."""
    floats = [name for name, (kind, size) in held.items() if kind == tfexample.FLOAT and size]
    if len(floats) == 1:
        return floats[0]
    bytes_of = {name: size * tfexample.DTYPES[kind].itemsize for name, (kind, size) in held.items()}
    largest = [name for name, size in bytes_of.items() if size and size == max(bytes_of.values())]
    if len(largest) != 1:
        raise Refused(f"data={spec.name!r} holds {_listed(held)}: write which are the samples, as {spec.path}:FEATURE")
    return largest[0]


def _listed(held: Mapping[str, tuple[int, int]]) -> str:
    names = {tfexample.BYTES: "bytes", tfexample.FLOAT: "floats", tfexample.INT64: "integers"}
    return ", ".join(f"{name} ({size} {names[kind]})" for name, (kind, size) in sorted(held.items())) or "no features"


class _Records(BlockSource):
    """Samples of one file.

    Args:
        features: by field, the name of the feature that holds it.
    """

    def __init__(self, spec: Spec, index: record_index.Index, features: Mapping[str, str], fields: Mapping[str, Field]):
        super().__init__(spec.name, fields, index.count, index.starts, [spec.path])
        self._path, self._index, self._features = spec.path, index, dict(features)

    def _decode(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        first, end = self.block_range(block)
        data, starts, lengths = _records(self._path, self._index, block)
        if len(starts) != end - first:
            raise ValueError(f"{len(starts)} records where its index says {end - first}")
        read = {field: np.empty((end - first, *self.fields[field].shape), self.fields[field].dtype) for field in fields}
        for length in np.unique(lengths):
            left = np.flatnonzero(lengths == length)
            rows = np.lib.stride_tricks.sliding_window_view(data, length)[starts[left]] if length else _NO_BYTES[left * 0]
            while len(left):
                features = tfexample.features_of(rows[0].tobytes())
                wanted = {name: features[name] for name in map(self._features.get, fields) if name in features}
                others = {name: feature for name, feature in features.items() if name not in wanted}
                is_alike = tfexample.alike(rows, wanted, others)
                for field in fields:
                    values = self._values(rows[is_alike], wanted.get(self._features[field]), field, first + int(left[0]))
                    read[field][left[is_alike]] = values
                left, rows = left[~is_alike], rows[~is_alike]
        return read

    def _values(self, rows: np.ndarray, feature: tfexample.Feature | None, field: str, number: int) -> np.ndarray:
        """Of a field in records (records, bytes) that are laid out alike, the first of this number."""
        declared = self.fields[field]
        held, size = np.empty((0, 0)) if feature is None else feature.values(rows), math.prod(declared.shape)
        if held.shape[1] != size or (held.dtype == np.uint8) != (declared.dtype == np.uint8):
            raise Refused(f"data={self.name!r}: record {number} holds {held.shape[1]} values of type {held.dtype} in "
                          f"{self._features[field]!r}, where the first holds {size}: every record must "
                          "hold as many, of one type; name another feature, or write them padded")
        return as_read(held, declared.dtype).reshape(-1, *declared.shape)


_NO_BYTES = np.zeros((1, 0), np.uint8)
