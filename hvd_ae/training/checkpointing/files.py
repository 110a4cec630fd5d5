"""Vectors and JSON on disk, with checksums: what is read back is what was written, or is refused by name.

Nothing is pickled: NumPy's own format with `allow_pickle=False`, and JSON.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tensorflow as tf

_LARGE = 1 << 20  # bytes


class BadFile(Exception):
    """A file is missing, truncated, altered or foreign; the message names it."""


def write_vectors(folder: Path, prefix: str, vectors: Mapping[str, np.ndarray | tf.Variable | tf.Tensor]) -> dict[str, str]:
    """Write each vector to `PREFIX NAME.npy`, down to the disk, one at a time; each file's SHA-256 by the vector's name."""
    sums = {}
    for name, vector in vectors.items():
        with _to_disk(folder / f"{prefix}{name}.npy") as file:
            summed = _Summed(file)
            np.save(summed, np.asarray(vector), allow_pickle=False)
            sums[name] = summed.digest.hexdigest()
    return sums


class _Summed:
    """A file that is written to, and the SHA-256 of what it was given.

    NumPy writes to it in parts. To a file itself it would write by C's fwrite, and say of a full disk only how many bytes
    there was room for.
    """

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()

    def write(self, part: bytes) -> int:
        self.digest.update(part)
        return self._file.write(part)


def read_vectors(folder: Path, prefix: str, sums: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The vectors that `write_vectors` wrote; large ones are left in their files, and read where they are used.

    Raises:
        BadFile: naming the first file that is not as it was written.
    """
    vectors = {}
    for name, expected in sums.items():
        path = folder / f"{prefix}{name}.npy"
        try:
            with open(path, "rb") as file:
                found, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        except OSError as error:
            raise BadFile(f"{path} cannot be read ({error.strerror})") from None
        if found != expected:
            raise BadFile(f"{path} is not as it was written ({size} bytes, SHA-256 differs)")
        try:
            vectors[name] = np.load(path, mmap_mode="r" if size > _LARGE else None, allow_pickle=False)
        except (ValueError, EOFError):
            raise BadFile(f"{path} holds no plain numbers") from None
    return vectors


def write_json(path: Path, content: dict) -> None:
    """Write JSON together with its own SHA-256, down to the disk."""
    text = json.dumps({"sha256": _digest(content), "content": content}, indent=1)
    with _to_disk(path) as file:
        file.write(text.encode())


@contextmanager
def _to_disk(path: Path) -> Iterator[BinaryIO]:
    """A new file, whose content is on the disk when the context ends; an OSError in it names the file."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def read_json(path: Path) -> dict:
    """What `write_json` wrote.

    Raises:
        BadFile: the file is missing, no JSON, or not as it was written.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        content, expected = table["content"], table["sha256"]
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadFile(f"{path} is not a checkpoint's JSON") from None
    if _digest(content) != expected:
        raise BadFile(f"{path} is not as it was written (SHA-256 differs)")
    return content


def sync_folder(folder: Path) -> None:
    """Make the folder's entries last through a crash, not only its files' contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _digest(content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
