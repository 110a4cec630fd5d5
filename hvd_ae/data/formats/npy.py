"""`.npy` files, memory-mapped so that a rank reads only its own samples. Never unpickled."""

import math
import tokenize
from pathlib import Path

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import LABELS, Source
from hvd_ae.data.spec import Spec, check_labels, check_sample_kind
from hvd_ae.errors import Refused

HAS_MEMBERS = False  # a file is one array
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def reads(path: Path) -> bool:
    return path.suffix == ".npy"


def files(path: Path) -> list[Path]:
    """All that is read for this path, whether or not it is there."""
    return [path, path.with_suffix(".labels.npy")]


def read(spec: Spec) -> Source:
    """Samples of a `.npy` file, left in the file, with the labels of `NAME.labels.npy` where that lies beside it.

    A file in Fortran order will do, but one of its samples is spread over the whole file.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    path, name = spec.path, spec.name
    shape, dtype, *place = _read_header(path, name)
    check_sample_kind(shape, dtype, name)
    values, beside = _mapped(path, name, shape, dtype, *place), path.with_suffix(".labels.npy")
    has_labels = LABELS not in spec.beside and beside.exists()
    return from_arrays(name, values, _read_labels(beside, len(values)) if has_labels else None)


def read_array(path: Path, name: str) -> np.ndarray:
    """An array of any shape, left in the file.

    Raises:
        Refused: the file is missing or damaged.
    """
    shape, dtype, *place = _read_header(path, name)
    if dtype.hasobject:
        raise Refused(f"{name!r} holds Python objects, which are never unpickled: save the labels as int64")
    return _mapped(path, name, shape, dtype, *place)


def _read_labels(path: Path, count: int) -> np.ndarray:
    return check_labels(read_array(path, str(path)), count, str(path))


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
