"""Where the records of a TFRecord file lie: found once by a pass over their headers, and kept beside the file.

Only every block's first record is kept, so that no array is as long as the number of samples.
"""

import contextlib
import gzip
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.formats import crc32c

_HEADER, _FOOTER = 12, 4  # bytes: the length and its checksum; that of the data
_FORMAT = 2
_AT_A_TIME = 1 << 16  # headers whose checksums are compared together
_SHORT = 1 << 16  # bytes of a record that is read over rather than jumped over


class Index(NamedTuple):
    """The blocks of a file."""

    count: int  # records
    starts: np.ndarray  # int64 (blocks,): the number of each block's first record
    offsets: np.ndarray  # int64 (blocks + 1,): the byte at which it begins, and the end; one block where it is compressed
    is_compressed: bool

    def bytes_of(self, path: Path, block: int) -> bytes:
        if self.is_compressed:
            return gzip.decompress(path.read_bytes())
        first, end = (int(offset) for offset in self.offsets[block : block + 2])
        with open(path, "rb", buffering=0) as file:
            file.seek(first)
            return file.read(end - first)


def of_file(path: Path) -> Index:
    """The index beside a file, or where there is none of the file as it is, one that is made, and kept if the folder allows.

    Raises:
        OSError, EOFError, zlib.error, ValueError: the file is missing or damaged.
    """
    kept_at, found = path.with_name(f"{path.name}.index"), os.stat(path)
    stamp = [_FORMAT, found.st_size, found.st_mtime_ns]
    index = _kept(kept_at, stamp)
    if index is None:
        with open(path, "rb", buffering=0) as file:
            begins = file.read(_HEADER)
            # a length may begin as a gzip file does, but not with its checksum
            if begins[:2] == b"\x1f\x8b" and not _are_whole(begins):
                index = Index(len(frames(gzip.decompress(path.read_bytes()))[0]), np.zeros(1, np.int64),
                              np.array([0, found.st_size]), True)
            else:
                index = _built(file.fileno(), found.st_size)
        _keep(kept_at, stamp, index)
    return index


def frames(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where each record's own bytes begin, and how many they are, in bytes that begin and end with a record.

    Raises:
        ValueError: a record is cut short, or its length is damaged.
    """
    starts, lengths, headers, at = [], [], [], 0
    while at + _HEADER <= len(data):
        length, _ = struct.unpack_from("<QI", data, at)
        starts.append(at + _HEADER)
        lengths.append(length)
        headers.append(data[at : at + _HEADER])
        at += _HEADER + length + _FOOTER
    _check(b"".join(headers), 0)
    if at != len(data):
        raise ValueError(f"truncated in record {max(0, len(starts) - (at > len(data)))}")
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def _built(file: int, size: int) -> Index:
    starts, offsets, count, at, block = [], [], 0, 0, bytes_a_block(size)
    seen, seen_at, headers, length = b"", 0, bytearray(), 0
    while at < size:
        if not offsets or at - offsets[-1] >= block:
            starts.append(count)
            offsets.append(at)
        if at + _HEADER > seen_at + len(seen):
            seen, seen_at = os.pread(file, 1 << 20 if length < _SHORT else _HEADER, at), at
        header = seen[at - seen_at : at - seen_at + _HEADER]
        if len(header) < _HEADER:
            break
        headers += header
        length = int.from_bytes(header[:8], "little")
        at += _HEADER + length + _FOOTER
        count += 1
        if len(headers) == _HEADER * _AT_A_TIME:
            _check(headers, count - _AT_A_TIME)
            headers.clear()
    _check(headers, count - len(headers) // _HEADER)
    if at != size:
        raise ValueError(f"truncated in record {count - (at > size)}")
    return Index(count, np.array(starts, np.int64), np.array([*offsets, size], np.int64), False)


def _are_whole(headers: bytes) -> bool:
    return len(headers) >= _HEADER and not len(_damaged(headers))


def _damaged(headers: bytes) -> np.ndarray:
    """The positions of headers whose checksums do not match."""
    data = np.frombuffer(headers, np.uint8)
    starts = np.arange(0, len(data), _HEADER)
    found = crc32c.masked(data, starts, np.full(len(starts), 8))
    return np.flatnonzero(found != uint32_at(data, starts + 8))


def _check(headers: bytes, first: int) -> None:
    for position in _damaged(headers):
        raise ValueError(f"the length of record {first + position} is damaged: its checksum is another")


def uint32_at(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Little-endian uint32 that begin at these bytes."""
    return np.ascontiguousarray(data[places[:, None] + np.arange(4)]).view("<u4").reshape(len(places)).astype(np.uint32)


def _kept(path: Path, stamp: list[int]) -> Index | None:
    """The index in a file, unless it is damaged or another file's."""
    try:
        with open(path, "rb") as file:
            numbers = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    head = len(stamp) + 3
    if numbers.dtype != np.int64 or numbers.ndim != 1 or len(numbers) < head or numbers[: len(stamp)].tolist() != stamp:
        return None
    checksum, count, is_compressed = numbers[len(stamp) : head].tolist()
    blocks = (len(numbers) - head) // 2
    if zlib.crc32(numbers[len(stamp) + 1 :].tobytes()) != checksum:
        return None
    return Index(count, numbers[head : head + blocks], numbers[head + blocks :], bool(is_compressed))


def _keep(path: Path, stamp: list[int], index: Index) -> None:
    """Whole or not at all; other ranks may be writing the same."""
    rest = np.concatenate([[index.count, index.is_compressed], index.starts, index.offsets]).astype(np.int64)
    with contextlib.suppress(OSError):  # a folder that cannot be written: the next run looks again
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with open(handle, "wb") as file:
                np.save(file, np.concatenate([stamp, [zlib.crc32(rest.tobytes())], rest]).astype(np.int64))
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except OSError:
            os.unlink(partial)
            raise
