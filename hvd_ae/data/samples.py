"""Samples in memory or in a memory-mapped file, read row by row and never as a whole."""

import math
import mmap
from dataclasses import dataclass

import numpy as np

from hvd_ae.errors import Refused

_BYTES_A_PIECE = 16 << 20
_SCATTERED_ROWS = 128  # of a file at a time: to read a row, Linux may map the 2 MB around it


@dataclass(frozen=True)
class Samples:
    """Rows of one shape.

    values: (count, *sample_shape), any real dtype; may be a read-only memory map.
    labels: (count,) int64, or None.
    name: what the user gave, for messages.
    first_row: which row of what the user gave the first one is, for messages.
    """

    values: np.ndarray
    labels: np.ndarray | None
    name: str
    first_row: int = 0

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]

    @property
    def row_dtype(self) -> np.dtype:
        """What `rows` returns: bytes stay bytes, which is a quarter of the memory to move; all else is float32."""
        return np.dtype(np.uint8) if self.values.dtype == np.uint8 else np.dtype(np.float32)

    @property
    def scale(self) -> float:
        """What rows are multiplied by before the model sees them: bytes become 0 to 1."""
        return 1.0 / 255.0 if self.values.dtype == np.uint8 else 1.0

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows of these indices in their order: a new, contiguous (len(indices), *sample_shape) of `row_dtype`.

        Only these rows of a memory-mapped file are read, and they are read now, not when they are first used.
        """
        if _is_mapped(self.values) and len(indices) > _SCATTERED_ROWS and not _is_stretch(indices):
            rows = np.empty((len(indices), *self.sample_shape), self.row_dtype)
            for start in range(0, len(indices), _SCATTERED_ROWS):
                piece = slice(start, start + _SCATTERED_ROWS)
                rows[piece] = self.rows(indices[piece])
            return rows
        first = int(indices[0]) if len(indices) else 0
        is_stretch = _is_stretch(indices)
        chosen = self.values[first : first + len(indices)] if is_stretch else self.values[indices]
        with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, which `check_rows` refuses
            rows = chosen.astype(self.row_dtype, order="C", subok=False, copy=is_stretch)
        _let_go_of_pages(self.values)
        return rows


def _is_stretch(indices: np.ndarray) -> bool:
    """Whether these are consecutive."""
    return len(indices) == 0 or np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices)))


def _is_mapped(values: np.ndarray) -> bool:
    return getattr(values, "mode", None) == "r"  # what has been written into another map might be lost


def _let_go_of_pages(values: np.ndarray) -> None:
    """Pages of a memory-mapped file that have been read stay in the system's cache, but not in this process's memory.

    Without it a rank would grow by the whole file: to read a row the system maps the pages around it too.
    """
    if _is_mapped(values):
        values._mmap.madvise(mmap.MADV_DONTNEED)


def check_rows(samples: Samples, indices: np.ndarray) -> tuple[float, float]:
    """Read these rows once, in pieces, and return their smallest and largest value as the model will see them.

    Without rows the smallest is inf and the largest -inf, so that they drop out of a minimum and maximum over ranks.

    Raises:
        Refused: a value is not finite in float32.
    """
    lowest, highest = np.inf, -np.inf
    bytes_a_row = math.prod(samples.sample_shape) * samples.values.dtype.itemsize
    rows_a_piece = max(1, _BYTES_A_PIECE // bytes_a_row)
    in_file_order = np.sort(indices)
    for first in range(0, len(indices), rows_a_piece):
        piece = in_file_order[first : first + rows_a_piece]
        values = samples.rows(piece)
        low, high = float(values.min()), float(values.max())  # NaN, if there is any, comes through
        if not (math.isfinite(low) and math.isfinite(high)):
            row, value = _first_odd(values)
            raise Refused(f"data={samples.name!r} holds {value} in row {samples.first_row + piece[row]}: every value "
                          "must be finite in float32; mend or drop such rows")
        lowest, highest = min(lowest, low * samples.scale), max(highest, high * samples.scale)
    return lowest, highest


def _first_odd(values: np.ndarray) -> tuple[int, float]:
    flat = values.reshape(len(values), -1)
    row, column = np.argwhere(~np.isfinite(flat))[0]
    return int(row), float(flat[row, column])


def check_kind(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse what cannot be samples.

    Raises:
        Refused: no real numbers, fewer than two dimensions, or no values at all.
    """
    if dtype.hasobject:
        raise Refused(f"data={name!r} holds Python objects, which are never unpickled: save numbers of one type, such "
                      "as float32")
    if dtype.kind not in "fiub":
        raise Refused(f"data={name!r} holds values of type {dtype}: samples must be real numbers; save them as float32")
    if len(shape) < 2:
        raise Refused(f"data={name!r} has shape {shape}: samples need a first dimension for rows and at least one "
                      "more; reshape, for instance to (rows, features)")
    if 0 in shape:
        raise Refused(f"data={name!r} has shape {shape}, which holds no samples: give at least one row")


def check_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels as (count,) int64; a column (count, 1), as some data sets have it, will do.

    Raises:
        Refused: not one whole number for each sample.
    """
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
        raise Refused(f"{name!r} holds labels of shape {labels.shape} and type {labels.dtype}: there must be one whole "
                      f"number for each of the {count} samples")
    return labels.reshape(count).astype(np.int64)
