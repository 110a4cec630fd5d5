"""What is noted of each piece when it is written, and what all notes together say: a checksum, and statistics.

A note is text: SHA-256 of the piece, then for each field, in the order of their names, its moments; all as hexadecimal digits.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from hvd_ae.data.moments import MOMENTS, merged, moments_of

_DIGEST = 64  # digits
_BYTES_AT_A_TIME = 1 << 20  # that moments are taken of, so that they stay in a core's cache


def note(values: Mapping[str, np.ndarray]) -> str:
    """Of a piece, by field (rows, *shape)."""
    digest, moments = hashlib.sha256(), b""
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        digest.update(array.data)
        moments += _moments(array).astype("<f8").tobytes()
    return digest.hexdigest() + moments.hex()


def _moments(array: np.ndarray) -> np.ndarray:
    """Of all numbers of an array together, float64 (5, 1)."""
    features = array.reshape(len(array), -1)
    rows = max(1, _BYTES_AT_A_TIME // max(1, features.shape[1] * array.itemsize))
    return reduce(merged, (moments_of(features[first : first + rows], 1) for first in range(0, len(features), rows)))


def checksum(notes: Sequence[str]) -> str:
    """SHA-256 of all pieces' digests in their order."""
    return hashlib.sha256(b"".join(bytes.fromhex(each[:_DIGEST]) for each in notes)).hexdigest()


def statistics(notes: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Of each field, over all its numbers: how many there are (NaN are not counted), mean, std, min and max.

    The standard deviation is that of the population. Merged in the order of the pieces: the same on any number of ranks.
    """
    tables = [np.frombuffer(bytes.fromhex(each[_DIGEST:]), "<f8").reshape(len(fields), MOMENTS, 1) for each in notes]
    return {name: _said(reduce(merged, (of_piece[place] for of_piece in tables))[:, 0].tolist())
            for place, name in enumerate(sorted(fields))}


def _said(moments: Sequence[float]) -> dict[str, float | None]:
    count, mean, squares, low, high = moments
    if not count:
        return {"count": 0, "mean": None, "std": None, "min": None, "max": None}
    return {"count": int(count), "mean": mean, "std": math.sqrt(squares / count), "min": low, "max": high}
