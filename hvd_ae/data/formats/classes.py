"""Text that names classes: a class's number is the place of its name among all names, sorted."""

from collections.abc import Iterator

import numpy as np

from hvd_ae.data.formats.rows import Rows
from hvd_ae.errors import Refused

_AT_A_TIME = 1 << 16  # samples: text of one sample each is small, but there may be 10^9 of them
_MOST = 100_000  # different names; more are no classes, and would not fit on every rank


def is_text(rows: Rows) -> bool:
    """Fixed-length text, or Python's str and bytes, as h5py reads text of any length."""
    of_any_length = (rows.dtype.metadata or {}).get("vlen") in (str, bytes)
    return rows.dtype.kind in "SU" or rows.dtype.hasobject and of_any_length


def stretches(rows: Rows) -> Iterator[np.ndarray]:
    """All of it, a bounded part at a time."""
    for first in range(0, rows.shape[0], _AT_A_TIME):
        yield rows[first : first + _AT_A_TIME]


def names_of(rows: Rows, name: str) -> tuple[str, ...]:
    """The different texts, sorted.

    Raises:
        Refused: no text, or too many different ones.
    """
    found: set[str] = set()
    for part in stretches(rows):
        found.update(as_text(part).tolist())
        if len(found) > _MOST:
            raise Refused(f"labels={name!r} holds more than {_MOST} different texts, which are no classes: give numbers, or "
                          "another member")
    return tuple(sorted(found))


def as_text(part: np.ndarray) -> np.ndarray:
    """Texts (count,), from any text type, or characters (count, length) as NetCDF-3 has them."""
    if part.dtype.kind == "S" and part.dtype.itemsize == 1 and part.ndim == 2:
        part = np.ascontiguousarray(part).view(f"S{part.shape[1]}")
    texts = [text.decode() if isinstance(text, bytes) else text for text in part.reshape(len(part)).tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("neither text nor numbers")
    return np.array(texts, str) if texts else np.empty(0, "U1")


class Numbered:
    """Rows of text as the numbers of their names."""

    def __init__(self, rows: Rows, names: tuple[str, ...]):
        self._rows, self._names = rows, np.array(names)
        self.shape, self.dtype = (rows.shape[0],), np.dtype(np.int64)

    def __getitem__(self, stretch: slice) -> np.ndarray:
        texts = as_text(self._rows[stretch])
        numbers = np.searchsorted(self._names, texts)
        if not (self._names[np.minimum(numbers, len(self._names) - 1)] == texts).all():
            raise ValueError("a label that was not there when the file was opened")
        return numbers
