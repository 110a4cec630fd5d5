"""Values that cannot be trained on: looked for in a bounded part of the data before the first step, and in all as it comes."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.epoch_plan import EpochPlan, plan_evaluation
from hvd_ae.data.source import Field, Source
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

_BYTES_LOOKED_AT = 64 << 20  # of a rank's own samples, before the first step
_BYTES_AT_A_TIME = 16 << 20
_ROUNDING = 1e-6  # of a normalized value that should be 0 or 1


@dataclass(frozen=True)
class Range:
    """What a task can be trained on, and what to say of anything else."""

    lowest: float = -math.inf
    highest: float = math.inf
    otherwise: str = ""  # the end of the sentence: the rule and the way out
    missing: bool = False  # whether NaN is a value that is missing
    logarithm: bool = False  # whether log(1 + x) is taken of it
    of_training: bool = False  # whether validation samples may lie outside
    of_raw: bool = False  # whether it is of values before they are normalized


def check_values(values: np.ndarray, indices: np.ndarray, source: Source, field: str, allowed: Range) -> None:
    """Refuse values of a field as they were read: (len(indices), *shape), of the samples with these numbers.

    Raises:
        Refused: a value is not finite in float32, or what the model would see of it lies outside the range.
    """
    declared = source.fields[field]
    if not values.size or values.dtype.kind != "f" and allowed.lowest <= 0.0 and allowed.highest >= _largest(declared):
        return
    may_be_missing, is_logarithm = allowed.missing, allowed.logarithm
    if declared.normalization is not None:
        may_be_missing |= declared.normalization.fill is not None
        is_logarithm |= declared.normalization.logarithm
    is_bounded = allowed.lowest > -math.inf or allowed.highest < math.inf
    if not is_logarithm and not is_bounded and _are_finite(values):
        return
    low, high = float(values.min()), float(values.max())  # NaN, if there is any, comes through
    if not (math.isfinite(low) and math.isfinite(high)):
        odd = np.isinf(values) if may_be_missing and values.dtype.kind == "f" else ~np.isfinite(values)
        if odd.any():
            value, where = _first(values, odd, indices, source)
            way_out = "mend or drop such samples" + (", or train with --missing mean" if math.isnan(value) else "")
            raise Refused(f"data={source.name!r} holds {value} in {where}: every value must be finite in float32; {way_out}")
        low = float(np.fmin.reduce(values, axis=None))
    if is_logarithm and low * declared.scale <= -1.0:
        value, where = _first(values, values * declared.scale <= -1.0, indices, source)
        raise Refused(f"data={source.name!r} holds {value} in {where}: a logarithm of 1 + x needs values above -1; mend or "
                      "drop such samples, or use another --normalize")
    if is_bounded:
        if allowed.of_raw:
            declared = dataclasses.replace(declared, normalization=None)
        seen = declared.as_seen(values)
        check_bounds_of(float(np.fmin.reduce(seen, axis=None)), float(np.fmax.reduce(seen, axis=None)), source, declared,
                        allowed)


def _are_finite(values: np.ndarray) -> bool:
    """Whether all are, by their squares' sums: one pass where minimum and maximum take two. False of very large ones, too."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = values.reshape(len(values), -1)
        return bool(np.isfinite(np.vecdot(rows, rows)).all())


def check_bounds_of(low: float, high: float, source: Source, field: Field, allowed: Range) -> None:
    """Refuse a field whose values, as a model sees them, lie within these bounds."""
    slack = 0.0 if field.normalization is None else _ROUNDING
    if low < allowed.lowest - slack or high > allowed.highest + slack:
        as_what = "" if field.normalization is None else ", once they are normalized"
        raise Refused(f"data={source.name!r} holds values from {low:.6g} to {high:.6g}{as_what}, {allowed.otherwise}")


def check_some(source: Source, indices: np.ndarray, field: str, allowed: Range) -> None:
    """As `check_values`, reading these samples, or as many of them as are read in a moment."""
    some, at_a_time = np.sort(indices[: _few(source, field)]), max(1, _BYTES_AT_A_TIME // _bytes(source, field))
    for first in range(0, len(some), at_a_time):
        piece = some[first : first + at_a_time]
        check_values(source.read(piece, [field])[field], piece, source, field, allowed)


def some_of_plan(source: Source, plan: EpochPlan, field: str, world: World) -> np.ndarray:
    """Samples to look at before the first step: some that this rank trains on, or some of a block that no other looks at."""
    return plan.first_indices(_few(source, field)) if source.reads_single_samples else some_of_share(source, world)


def some_of_share(source: Source, world: World) -> np.ndarray:
    """Samples to look at of this rank's contiguous share; of one block only, where a sample costs as much as a block."""
    share = plan_evaluation(source.count, world)
    if source.reads_single_samples or not len(share):
        return share
    starts = np.asarray(source.block_starts)
    end = np.append(starts, source.count)[np.searchsorted(starts, share[0], side="right")]
    return share[: int(end - share[0])]


def _few(source: Source, field: str) -> int:
    return max(1, _BYTES_LOOKED_AT // _bytes(source, field))


def _bytes(source: Source, field: str) -> int:
    declared = source.fields[field]
    return max(1, declared.bytes_stored, declared.bytes_read)  # what is computed is stored nowhere


def _largest(field: Field) -> float:
    return field.scale * 255.0 if field.dtype == np.uint8 else math.inf


def _first(values: np.ndarray, odd: np.ndarray, indices: np.ndarray, source: Source) -> tuple[float, str]:
    """The first of the odd values, and where it is, as the user would say it."""
    position, *feature = np.argwhere(odd)[0].tolist()
    where = f"sample {source.number(int(indices[position]))}"
    if feature:
        where += f", feature {feature[0] if len(feature) == 1 else tuple(feature)}"
    return float(values[position][tuple(feature)]), where
