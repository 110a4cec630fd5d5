"""Zarr 2 and 3, in a folder: `x.zarr`, or `x.zarr:group/array`. Read by TensorStore, a few chunks at a time.

Zarr lets a chunk be absent where it holds nothing but the fill value, and an interrupted copy looks the same. So an absent
chunk is refused, unless it reads as NaN, or the array says otherwise: `"missing_chunks": "fill"` among its attributes.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.formats.optional import import_for
from hvd_ae.data.formats.zarr_metadata import DRIVERS, Array, arrays_of, listed
from hvd_ae.data.source import LABELS, SAMPLES, BlockSource, Field, Source, as_read
from hvd_ae.data.spec import Spec, check_sample_kind, field_beside
from hvd_ae.errors import Refused

_BYTES_CACHED = 64 << 20  # of what lies beside the samples: a chunk of labels spans many blocks
_MOST_BLOCKS = 1 << 26


def reads(path: Path) -> bool:
    return path.suffix == ".zarr"


def read(spec: Spec) -> Source:
    """Samples of one array, with arrays of the same store beside them.

    Raises:
        Refused: the store is missing or damaged, or does not hold samples; or TensorStore is not installed.
    """
    import_for(spec.name, "tensorstore", "zarr")
    arrays = arrays_of(spec)
    members = {SAMPLES: spec.member.strip("/") if spec.member else _only_samples(arrays, spec), **spec.beside}
    for member in members.values():
        if member not in arrays:
            raise Refused(f"data={spec.name!r} holds no array {member!r}: it has {listed(arrays)}")
    chosen = {field: arrays[member] for field, member in members.items()}
    return _ZarrSource(spec, chosen, {field: _opened(array, field, spec) for field, array in chosen.items()})


class _ZarrSource(BlockSource):
    def __init__(self, spec: Spec, arrays: Mapping[str, Array], stores: Mapping):
        samples = stores[SAMPLES]
        shape, dtype = tuple(samples.shape), samples.dtype.numpy_dtype
        check_sample_kind(shape, dtype, spec.name)
        fields = {SAMPLES: Field.of_numbers(shape[1:], dtype)}
        for field, store in stores.items():
            if field != SAMPLES:
                fields[field] = field_beside(field, tuple(store.shape), store.dtype.numpy_dtype, shape[0], spec.beside[field])
        self._stores, self._packing = stores, {field: array.packing for field, array in arrays.items() if field != LABELS}
        for field in fields:
            if self._packing.get(field):
                fields[field] = replace(fields[field], dtype=np.dtype(np.float32), scale=1.0)
        rows = _rows_a_block(samples, spec)
        super().__init__(spec.name, fields, shape[0], np.arange(0, shape[0], rows),
                         sorted({array.described_in for array in arrays.values()}))

    def _decode(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        first, end = self.block_range(block)
        under_way = {name: self._stores[name][first:end].read() for name in fields}
        return {name: self._finished(name, reading, first, end) for name, reading in under_way.items()}

    def _finished(self, name: str, reading, first: int, end: int) -> np.ndarray:
        try:
            values = reading.result()
        except ValueError as error:
            if not (str(error).startswith("NOT_FOUND") and "is missing" in str(error)):
                raise
            raise Refused(f"data={self.name!r} lacks a chunk of {name}, within samples {first} to {end - 1} "
                          f"({_sentence(error)}): copy or write the store anew, zero chunks too (zarr's "
                          "write_empty_chunks=True), or, where it is right that chunks are absent, put \"missing_chunks\": "
                          "\"fill\" among the attributes of an array with a fill_value") from None
        if packing := self._packing.get(name):
            scale, offset, missing = packing
            values = np.where(values == missing, np.nan, values * scale + offset)
        return as_read(values.reshape(end - first, *self.fields[name].shape), self.fields[name].dtype)


def _rows_a_block(store, spec: Spec) -> int:
    """A chunk's samples (of a shard, an inner chunk's: it is read alone), or as many chunks' as are read at once."""
    rows = min(store.chunk_layout.read_chunk.shape[0], store.shape[0])
    bytes_a_row = math.prod(store.shape[1:]) * store.dtype.numpy_dtype.itemsize
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if rows * bytes_a_row > memory:
        raise Refused(f"data={spec.name!r} has chunks of {rows} samples, {rows * bytes_a_row / 2**30:.3g} GiB, more than the "
                      f"{memory / 2**30:.3g} GiB of memory here: write it anew with smaller chunks along the first axis")
    rows *= max(1, bytes_a_block(store.shape[0] * bytes_a_row) // (rows * bytes_a_row))
    if store.shape[0] // rows > _MOST_BLOCKS:
        raise Refused(f"data={spec.name!r} says that it holds {store.shape[0]} samples, {rows} a block: write it anew with "
                      "larger chunks along the first axis, or mend its metadata")
    return rows


def _only_samples(arrays: Mapping[str, Array], spec: Spec) -> str:
    able = [member for member, array in arrays.items()
            if (len(array.metadata["shape"]) >= 2 or not member) and member not in spec.beside.values()]
    if len(able) != 1:
        raise Refused(f"data={spec.name!r} holds {listed(arrays)}: write which are the samples, as {spec.path}:NAME")
    return able[0]


def _opened(array: Array, field: str, spec: Spec):
    """TensorStore's array; its values are read later."""
    import tensorstore

    cached = 0 if field == SAMPLES else _BYTES_CACHED
    try:
        return tensorstore.open({
            "driver": DRIVERS[array.described_in.name],
            "kvstore": {"driver": "file", "path": f"{array.described_in.parent.absolute()}/"},
            "fill_missing_data_reads": array.reads_missing, "recheck_cached_data": "open",
            "context": {"cache_pool": {"total_bytes_limit": cached}},
        }, open=True, read=True).result()
    except ValueError as error:  # TensorStore's own for whatever it cannot read
        raise Refused(f"data={spec.name!r}: {array.described_in} is not what TensorStore reads ({_sentence(error)}): save "
                      "real numbers, such as float32, with a codec of the Zarr specification") from None


def _sentence(error: ValueError) -> str:
    """What TensorStore says, without the specification it repeats."""
    return " ".join(str(error).split(" [tensorstore_spec")[0].split())[:300]
