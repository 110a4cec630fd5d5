"""NumPy files: `.npy`, memory-mapped so that a rank reads only its own rows, and `.npz`. Never unpickled."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvd_ae.data.samples import Samples, check_kind, check_labels
from hvd_ae.errors import Refused

# What zipfile and NumPy raise on damaged files; RuntimeError where a flipped bit says encrypted or another method.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, OverflowError, zlib.error,
            zipfile.BadZipFile)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path, name: str) -> Samples:
    """Samples of a `.npy` file, left in the file, with the labels of `NAME.labels.npy` where that lies beside it.

    A file in Fortran order will do, but one of its rows is spread over the whole file.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    shape, dtype, *place = _read_header(path, name)
    check_kind(shape, dtype, name)
    values, beside = _mapped(path, name, shape, dtype, *place), path.with_suffix(".labels.npy")
    return Samples(values, _read_labels(beside, len(values)) if beside.exists() else None, name)


def _read_labels(path: Path, count: int) -> np.ndarray:
    shape, dtype, *place = _read_header(path, str(path))
    if dtype.hasobject:
        raise Refused(f"{str(path)!r} holds Python objects, which are never unpickled: save the labels as int64")
    return check_labels(_mapped(path, str(path), shape, dtype, *place), count, str(path))


def _read_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype, str, int]:
    """Shape, dtype, order ("C" or "F") and the byte at which the values begin."""
    try:
        with open(path, "rb") as file:
            shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            if min(shape, default=0) < 0:
                raise ValueError
            return shape, dtype, "F" if is_fortran else "C", file.tell()
    except OSError as error:
        raise Refused(f"data={name!r} cannot be read ({error.strerror}): check the path") from None
    except (ValueError, KeyError, SyntaxError, tokenize.TokenError):
        raise Refused(f"data={name!r} does not begin as a .npy file of plain numbers does: write it with "
                      "numpy.save") from None


def _mapped(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, order: str, offset: int) -> np.ndarray:
    """The values, left in the file."""
    size, needed = path.stat().st_size - offset, math.prod(shape) * dtype.itemsize
    if size < needed:
        raise Refused(f"data={name!r} is truncated: {size} bytes of values where its header, shape {shape} of {dtype}, "
                      f"needs {needed}; copy or save it anew")
    return np.memmap(path, dtype, "r", offset, shape, order) if needed else np.zeros(shape, dtype)


def read_npz(path: Path, name: str) -> tuple[Samples, Samples | None]:
    """Training and test samples of arrays named as in Keras's mnist.npz, or x and y, or of one array of any name.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    try:
        # opened here, since np.load leaves a damaged file open
        with open(path, "rb") as file:
            return _unpacked(file, name)
    except OSError as error:
        raise Refused(f"data={name!r} cannot be read ({error.strerror or error}): check the path") from None


def _unpacked(file: BinaryIO, name: str) -> tuple[Samples, Samples | None]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return _from_archive(archive, name)
    except Refused:
        raise
    except MemoryError:
        raise Refused(f"data={name!r} does not fit in memory: save the samples as .npy, of which each rank reads only "
                      "its own rows") from None
    except _DAMAGED as error:
        if "Object arrays" in str(error):
            raise Refused(f"data={name!r} holds Python objects, which are never unpickled: save numbers of one type, "
                          "such as float32") from None
        reason = type(error).__name__
        raise Refused(f"data={name!r} is no whole .npz file ({reason}): write it with numpy.savez") from None


def _from_archive(archive: np.lib.npyio.NpzFile, name: str) -> tuple[Samples, Samples | None]:
    keys = archive.files
    key = next((key for key in ("x_train", "x") if key in keys), keys[0] if len(keys) == 1 else None)
    if key is None:
        held = ", ".join(sorted(keys)) or "none"
        raise Refused(f"data={name!r} holds the arrays {held}: name the samples x_train or x")
    train = _member(archive, key, "y_train" if key == "x_train" else "y", name)
    test = _member(archive, "x_test", "y_test", name) if "x_test" in keys and key != "x_test" else None
    return train, test


def _member(archive: np.lib.npyio.NpzFile, key: str, label_key: str, name: str) -> Samples:
    values = archive[key]
    check_kind(values.shape, values.dtype, name)
    labels = check_labels(archive[label_key], len(values), name) if label_key in archive.files else None
    return Samples(values, labels, name)
