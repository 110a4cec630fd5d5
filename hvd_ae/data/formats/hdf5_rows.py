"""One data set of an HDF5 file: where its blocks begin, and how a stretch of samples is read by the fastest correct way."""

import math
import zlib
from collections.abc import Callable

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.formats import hdf5_virtual
from hvd_ae.data.formats.packing import NAMES, Packing, Unpacked
from hvd_ae.data.formats.rows import Rows
from hvd_ae.errors import Refused

_MOST_BYTES = 1 << 32  # of one block: HDF5 has no larger chunks
_MOST_BLOCKS = 10_000_000  # or a block for each byte of the file, if that is more: else a damaged file could claim any number
_GZIP, _SHUFFLE = 1, 2
_FILTERS = {1: "gzip", 2: "shuffle", 4: "szip", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4",
            32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


def packing_of(data_set, name: str) -> Packing:
    return Packing.of({key: data_set.attrs[key] for key in NAMES if key in data_set.attrs}, data_set.dtype, name)


def filters_of(data_set) -> list[int]:
    plist = data_set.id.get_create_plist()
    return [plist.get_filter(position)[0] for position in range(plist.get_nfilters())]


def check_filters(data_set, name: str) -> None:
    """Refuse what is compressed by a filter that is not installed; hdf5plugin's are taken if it is.

    Raises:
        Refused: with the filter's name.
    """
    import h5py

    if data_set.is_virtual and (first := hdf5_virtual.opened_source(data_set)) is not None:
        data_set = first
    unknown = [code for code in filters_of(data_set) if not h5py.h5z.filter_avail(code)]
    if not unknown:
        return
    try:
        import hdf5plugin  # noqa: F401  # importing it is what makes its filters known
        remedy = "which hdf5plugin does not have either: write it anew with gzip"
    except ImportError:
        remedy = "which is not installed: pip install hdf5plugin"
    code = next((code for code in unknown if not h5py.h5z.filter_avail(code)), None)
    if code is not None:
        raise Refused(f"data={name!r} is compressed by the HDF5 filter {_FILTERS.get(code, 'of its own')} ({code}), {remedy}")


def block_starts(data_set, name: str, file_bytes: int) -> np.ndarray:
    """The first sample of each block: whole chunks along the first axis, several where they are small.

    Raises:
        Refused: sizes that only a damaged file has.
    """
    if data_set.is_virtual:
        return hdf5_virtual.block_starts(data_set, rows_of_block)
    count, rows = data_set.shape[0], rows_of_block(data_set)
    rows_a_chunk = data_set.chunks[0] if data_set.chunks else 1
    if rows_a_chunk * _row_bytes(data_set) > _MOST_BYTES or count // rows > max(_MOST_BLOCKS, file_bytes):
        raise Refused(f"data={name!r} is said to have shape {data_set.shape} in chunks of {data_set.chunks}, and its file has "
                      f"{file_bytes} bytes: it must have at most {_MOST_BYTES} bytes a row of chunks, and a chunk for each "
                      "byte; write it anew")
    return np.arange(0, count, rows)


def rows_of_block(data_set) -> int:
    rows_a_chunk = data_set.chunks[0] if data_set.chunks else 1
    row_bytes = _row_bytes(data_set)
    return rows_a_chunk * max(1, bytes_a_block(len(data_set) * row_bytes) // (rows_a_chunk * row_bytes))


def mapped(data_set) -> np.ndarray | None:
    """The data set as an array that is left in the file, where it lies there as plain numbers in one stretch."""
    offset = None if data_set.chunks or data_set.is_virtual or data_set.external else data_set.id.get_offset()
    if offset is None or not _is_stored_as_numpy_has_it(data_set):
        return None
    # np.memmap refuses what would lie beyond the end of the file
    return np.memmap(data_set.file.filename, data_set.dtype, "r", offset, data_set.shape)


def rows_of(data_set, name: str) -> Rows:
    """What reads a stretch of samples, in this process."""
    packing = packing_of(data_set, name)
    rows = Inflated(data_set) if _is_plain_gzip(data_set) else data_set
    return rows if packing.is_none else Unpacked(rows, packing)


class Inflated:
    """A data set of gzip chunks, perhaps shuffled, each of whole samples, decoded here instead of by HDF5.

    With zlib that is 1.04 times as fast (256 x 784 float32 a chunk: 61,400 samples a second of processor time, 59,800 by
    HDF5 1.14.6), and where isal is installed, which inflates 1.6 times as fast, half as fast again. HDF5 lets one thread of
    a process at a time decode, these two all of them.
    """

    def __init__(self, data_set):
        self._data_set, self.shape, self.dtype = data_set, data_set.shape, data_set.dtype
        self._is_shuffled = _SHUFFLE in filters_of(data_set)
        self._decompress = _decompress()

    def __getitem__(self, stretch: slice) -> np.ndarray:
        rows, (first, end) = self._data_set.chunks[0], (stretch.start, min(stretch.stop, self.shape[0]))
        values = np.empty((end - first, *self.shape[1:]), self.dtype)
        for start in range(first, end, rows):
            stop = min(start + rows, end)
            place = values[start - first : stop - first]
            if start % rows or not self._inflate(start, place):
                place[...] = self._data_set[start:stop]
        return values

    def _inflate(self, start: int, place: np.ndarray) -> bool:
        """Put a chunk in its place, or say that it is none that was written with all its filters."""
        data_set, corner = self._data_set, (start, *[0] * (len(self.shape) - 1))
        info = data_set.id.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or info.filter_mask:
            return False
        expected = math.prod(data_set.chunks) * self.dtype.itemsize
        content = self._decompress(data_set.id.read_direct_chunk(corner)[1], bufsize=expected)  # at once
        if len(content) != expected:
            raise ValueError(f"a chunk of {len(content)} bytes where {expected} were expected")
        if self._is_shuffled and place.shape == data_set.chunks:
            _unshuffle(content, place)
            return True
        chunk = np.frombuffer(content, self.dtype).reshape(data_set.chunks)  # the last one is stored as a whole, too
        if self._is_shuffled:
            chunk = np.empty(data_set.chunks, self.dtype)
            _unshuffle(content, chunk)
        place[...] = chunk[tuple(slice(length) for length in place.shape)]
        return True


def _decompress() -> Callable[..., bytes]:
    """Of zlib's own, or of Intel's ISA-L, which is faster and gives the same bytes."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompress
    return isal_zlib.decompress


def _unshuffle(content: bytes, values: np.ndarray) -> None:
    """First bytes of all values, then second bytes, ...: put together again. A transposition would take twice as long."""
    planes = np.frombuffer(content, np.uint8).reshape(values.dtype.itemsize, -1)
    together = values.reshape(-1).view(np.uint8).reshape(-1, values.dtype.itemsize)
    for byte, plane in enumerate(planes):
        together[:, byte] = plane


def _row_bytes(data_set) -> int:
    return max(1, math.prod(data_set.shape[1:]) * data_set.dtype.itemsize)


def _is_stored_as_numpy_has_it(data_set) -> bool:
    import h5py

    return data_set.id.get_type().equal(h5py.h5t.py_create(data_set.dtype, logical=True))


def _is_plain_gzip(data_set) -> bool:
    chunks, shape = data_set.chunks, data_set.shape
    return (chunks is not None and filters_of(data_set) in ([_GZIP], [_SHUFFLE, _GZIP]) and data_set.dtype.kind in "fiub"
            and all(of_chunk >= length for of_chunk, length in zip(chunks[1:], shape[1:]))
            and _is_stored_as_numpy_has_it(data_set))
