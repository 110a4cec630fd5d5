"""What `benchmarks input` shows, as ratios of one run's rows."""

from collections.abc import Callable

from benchmarks.ratios import median, most, over

Ratio = Callable[[list[dict]], float | None]


def decoded(rows: list[dict]) -> float | None:
    """Bytes that all ranks decode in an epoch over those of the data: the most of any format and number of ranks."""
    return most(row["decoded"] for row in rows)


def _windows(rows: list[dict]) -> float | None:
    return median(rows, how="windows", format="hdf5", ranks=2)


def windows_over_in_order(rows: list[dict]) -> float | None:
    return over(_windows(rows), median(rows, how="in order", format="hdf5", ranks=2))


def windows_over(kind: str) -> Ratio:
    """The speed of reading in windows over that of the best peer of a kind."""
    return lambda rows: over(_windows(rows), most(row["median"] for row in rows if row["how"] == kind))


def training(how: str) -> Ratio:
    """Training from compressed chunks over training from plain numbers that the page cache holds."""
    return lambda rows: over(*(median(rows, how=how, format=kind) for kind in ("hdf5", "npy")))


def contiguous_over_npy(rows: list[dict]) -> float | None:
    return over(*(median(rows, how="held", format=kind, ranks=2) for kind in ("contiguous", "npy")))


def cost_of_windows(rows: list[dict]) -> float | None:
    """The validation error after training in windows over that after training in a uniform order."""
    errors = {row["what"]: row["val_mse"] for row in rows if row["how"] == "by class"}
    return over(errors.get("by class, windows of a tenth"), errors.get("by class, uniform"))


def gigabytes_beyond(rows: list[dict]) -> float | None:
    """Peak of the rank that has most with much data less that with little."""
    peaks = {row["what"]: row["peak"] for row in rows if row["how"] == "memory"}
    much, little = (peaks.get(f"memory, {what} data") for what in ("much", "little"))
    return (much - little) / 1e9 if much and little else None
