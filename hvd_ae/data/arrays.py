"""NumPy files: `.npy`, memory-mapped so that a rank reads only its own rows, and `.npz`. Never unpickled."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hvd_ae.data.samples import Samples, check_kind, check_labels
from hvd_ae.errors import Refused

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path, name: str) -> Samples:
    """Samples of a `.npy` file, left in the file, with the labels of `NAME.labels.npy` where that lies beside it.

    A file in Fortran order will do, but one of its rows is spread over the whole file.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    shape, dtype, order, offset = _read_header(path, name)
    check_kind(shape, dtype, name)
    size, needed = path.stat().st_size - offset, math.prod(shape) * dtype.itemsize
    if size < needed:
        raise Refused(f"data={name!r} is truncated: {size} bytes of values where its header, shape {shape} of {dtype}, "
                      f"needs {needed}; copy or save it anew")
    values = np.memmap(path, dtype, "r", offset, shape, order)
    beside = path.with_suffix(".labels.npy")
    labels = None
    if beside.exists():
        _, label_dtype, _, _ = _read_header(beside, str(beside))
        if label_dtype.hasobject:
            raise Refused(f"{str(beside)!r} holds Python objects, which are never unpickled: save the labels as int64")
        labels = check_labels(_loaded(beside), shape[0], str(beside))
    return Samples(values, labels, name)


def _read_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype, str, int]:
    """Shape, dtype, order ("C" or "F") and the byte at which the values begin."""
    try:
        with open(path, "rb") as file:
            shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            return shape, dtype, "F" if is_fortran else "C", file.tell()
    except OSError as error:
        raise Refused(f"data={name!r} cannot be read ({error.strerror}): check the path") from None
    except (ValueError, KeyError, SyntaxError, tokenize.TokenError):
        raise Refused(f"data={name!r} does not begin as a .npy file of plain numbers does: write it with "
                      "numpy.save") from None


def _loaded(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Refused(f"{str(path)!r} is truncated or damaged ({str(error).splitlines()[0]}): save it anew") from None


def read_npz(path: Path, name: str) -> tuple[Samples, Samples | None]:
    """Training and test samples of arrays named as in Keras's mnist.npz, or x and y, or of one array of any name.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    try:
        # opened here, since np.load leaves a damaged file open
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return _from_archive(archive, name)
    except Refused:
        raise
    except OSError as error:
        raise Refused(f"data={name!r} cannot be read ({error.strerror or error}): check the path") from None
    except (ValueError, EOFError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
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
