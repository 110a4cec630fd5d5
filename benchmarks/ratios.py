"""Numbers of one run's rows, and their ratios; None where the rows do not show it."""

from collections.abc import Iterable


def median(rows: list[dict], **wanted) -> float | None:
    """The median of the first measured row that has these values; a set stands for any of its members."""
    fits = (row["median"] for row in rows if row["median"] is not None and all(
        row.get(name) in value if isinstance(value, set) else row.get(name) == value for name, value in wanted.items()))
    return next(fits, None)


def over(first: float | None, second: float | None) -> float | None:
    return first / second if first is not None and second else None


def most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
