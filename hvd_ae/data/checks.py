"""Values that cannot be trained on: looked for in a bounded part of the data before the first step, and in all as it comes."""

import math
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.source import Field, Source
from hvd_ae.errors import Refused

_BYTES_LOOKED_AT = 64 << 20  # of a rank's own samples, before the first step
_BYTES_AT_A_TIME = 16 << 20


@dataclass(frozen=True)
class Range:
    """What a task can be trained on, and what to say of anything else."""

    lowest: float = -math.inf
    highest: float = math.inf
    otherwise: str = ""  # the end of the sentence: the rule and the way out


def check_values(values: np.ndarray, indices: np.ndarray, source: Source, field: str, allowed: Range) -> None:
    """Refuse values of a field as they were read: (len(indices), *shape), of the samples with these numbers.

    Raises:
        Refused: a value is not finite in float32, or lies outside the range.
    """
    declared = source.fields[field]
    if not values.size or values.dtype.kind != "f" and allowed.lowest <= 0.0 and allowed.highest >= _largest(declared):
        return
    low, high = float(values.min()), float(values.max())  # NaN, if there is any, comes through
    if not (math.isfinite(low) and math.isfinite(high)):
        position, value = _first_odd(values)
        raise Refused(f"data={source.name!r} holds {value} in sample {source.number(int(indices[position]))}: every value "
                      "must be finite in float32; mend or drop such samples")
    low, high = low * declared.scale, high * declared.scale
    if low < allowed.lowest or high > allowed.highest:
        raise Refused(f"data={source.name!r} holds values from {low:.6g} to {high:.6g}, {allowed.otherwise}")


def check_some(source: Source, indices: np.ndarray, field: str, allowed: Range) -> None:
    """As `check_values`, reading these samples, or as many of them as are read in a moment."""
    bytes_each = max(1, source.fields[field].bytes_stored)
    some = np.sort(indices[: max(1, _BYTES_LOOKED_AT // bytes_each)])
    at_a_time = max(1, _BYTES_AT_A_TIME // bytes_each)
    for first in range(0, len(some), at_a_time):
        piece = some[first : first + at_a_time]
        check_values(source.read(piece, [field])[field], piece, source, field, allowed)


def _largest(field: Field) -> float:
    return field.scale * 255.0 if field.dtype == np.uint8 else math.inf


def _first_odd(values: np.ndarray) -> tuple[int, float]:
    flat = values.reshape(len(values), -1)
    position, column = np.argwhere(~np.isfinite(flat))[0]
    return int(position), float(flat[position, column])
