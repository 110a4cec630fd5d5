"""Samples in memory or in a memory-mapped file, read row by row and never as a whole."""

from dataclasses import dataclass

import numpy as np

from hvd_ae.errors import Refused

_ROWS_A_PIECE = 4096


@dataclass(frozen=True)
class Samples:
    """Rows of one shape.

    values: (count, *sample_shape), any real dtype; may be a read-only memory map.
    labels: (count,) whole numbers, or None.
    name: what the user gave, for messages.
    """

    values: np.ndarray
    labels: np.ndarray | None
    name: str

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
        """The rows of these indices in their order, contiguous, (len(indices), *sample_shape) of `row_dtype`.

        Only these rows of a memory-mapped file are read.
        """
        first = int(indices[0]) if len(indices) else 0
        if len(indices) and indices[-1] - first == len(indices) - 1 and np.all(np.diff(indices) == 1):
            chosen = self.values[first : first + len(indices)]  # a stretch of the file, no copy before the next line
        else:
            chosen = self.values[indices]
        return np.ascontiguousarray(chosen, dtype=self.row_dtype)


def check_rows(samples: Samples, indices: np.ndarray) -> tuple[float, float]:
    """Read these rows once, and return their smallest and largest value as the model will see them.

    Raises:
        Refused: a value is not finite.
    """
    lowest, highest = np.inf, -np.inf
    for first in range(0, len(indices), _ROWS_A_PIECE):
        piece = indices[first : first + _ROWS_A_PIECE]
        values = samples.rows(piece)
        low, high = float(values.min()), float(values.max())  # NaN, if there is any, comes through
        if not (np.isfinite(low) and np.isfinite(high)):
            row, value = _first_odd(values)
            raise Refused(f"data={samples.name!r} holds {value} in row {piece[row]}: every value must be finite; mend or "
                          "drop such rows")
        lowest, highest = min(lowest, low * samples.scale), max(highest, high * samples.scale)
    return lowest, highest


def _first_odd(values: np.ndarray) -> tuple[int, float]:
    flat = values.reshape(len(values), -1)
    row, column = np.argwhere(~np.isfinite(flat))[0]
    return int(row), float(flat[row, column])


def check_array(values: np.ndarray, name: str) -> np.ndarray:
    """The array, if it can be samples.

    Raises:
        Refused: not numbers, or not at least two dimensions and one row.
    """
    if values.dtype.kind not in "fiub":
        raise Refused(f"data={name!r} holds {values.dtype} values: samples must be real numbers; save them as float32")
    if values.ndim < 2:
        raise Refused(f"data={name!r} has shape {values.shape}: samples need a first dimension for rows and at least one "
                      "more; reshape, for instance to (rows, features)")
    if 0 in values.shape:
        raise Refused(f"data={name!r} has shape {values.shape}, which holds no samples: give at least one row")
    return values
