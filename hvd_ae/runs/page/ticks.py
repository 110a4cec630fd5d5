"""Where an axis has its ticks, and how numbers are written for a person."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUFFIXES = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]


@dataclass(frozen=True)
class Axis:
    """From values to 0 at one end and 1 at the other; ascending ticks within."""

    low: float
    high: float
    is_log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def axis_of(values: Sequence[float], is_log: bool = False, from_zero: bool = False, whole: bool = False) -> Axis:
    """An axis on which all these finite values lie; logarithmic only where all are above 0 and span a factor of 3.

    Args:
        from_zero: whether 0 belongs on it.
        whole: whether ticks are whole numbers.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if is_log and low > 0 and high / low >= 3:
        ticks = _log_ticks(low, high)
        return Axis(min(low, ticks[0]), max(high, ticks[-1]), True, ticks)
    low, high = (min(low, 0.0), max(high, 0.0)) if from_zero else (low, high)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = (0.0, 1.0) if high == 0 else (low - abs(low) / 2, high + abs(high) / 2)
    step = _nice((high - low) / (6 if whole else 4))
    step = max(1.0, round(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if whole:  # epochs begin at the first, without room before it
        ticks = tuple(number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1))
        return Axis(low, high, False, ticks)
    return Axis(first * step, last * step, False, tuple(number * step for number in range(first, last + 1)))


def _nice(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for within in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [factor * 10.0**decade for decade in decades for factor in within]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            every = -(-len(inside) // 7)
            return tuple(inside[::every])
    return tuple(inside) or (low, high)


def as_number(value: float | None, digits: int = 3) -> str:
    """Such as 12.3k, 0.00123 or 4.5e-07; a dash for what was not measured."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    size = abs(value)
    for factor, suffix in _SUFFIXES:
        if size >= factor * (10 if suffix == "k" else 1):
            return f"{value / factor:.{digits}g}{suffix}" if size < 1000 * factor else f"{value / factor:,.0f}{suffix}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def as_bytes(value: float | None) -> str:
    if value is None:
        return "–"
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} bytes"
