"""The project's targets as functions of rows: what was reached, and whether that is enough. None: not measured."""

from collections.abc import Callable
from dataclasses import dataclass

Rows = dict[str, list[dict]]  # newest rows by benchmark


@dataclass(frozen=True)
class Target:
    """At least, or at most, this ratio."""

    text: str
    bound: float
    reached: Callable[[Rows], float | None]
    at_most: bool = False

    def verdict(self, rows: Rows) -> str:
        value = self.reached(rows)
        if value is None:
            return "not measured"
        return "met" if (value <= self.bound if self.at_most else value >= self.bound) else "missed"


def _rate(rows: Rows, holds: str) -> float | None:
    """The best median of the contestants whose name holds a text."""
    return max((row["median"] for row in rows["peers"] if holds in row["contestant"] and row["median"]), default=None)


def _over(first: float | None, second: float | None) -> float | None:
    return first / second if first and second else None


def _ours(rows: Rows) -> float | None:
    return max(filter(None, (_rate(rows, "hvd_ae gradient"), _rate(rows, "hvd_ae sharded"))), default=None)


def _best_peer(rows: Rows) -> float | None:
    return max((row["median"] for row in rows["peers"] if "hvd_ae" not in row["contestant"] and row["median"]), default=None)


def _of_floor(rows: Rows) -> float | None:
    """Forward and backward alone, over the fastest whole step."""
    seconds = {part: [row["median"] for row in rows["step"] if row["part"] == part and row["median"]]
               for part in ("forward and backward", "step")}
    return min(seconds["forward and backward"]) / min(seconds["step"]) if all(seconds.values()) else None


def _slower_than_mpi(rows: Rows) -> float | None:
    """The worse engine's time over bare MPI's, at the vector of the deep model or the nearest size."""
    near = min((row["bytes"] for row in rows["allreduce"]), key=lambda size: abs(size - 4_614_848), default=None)
    times = {row["contestant"]: row["median"] for row in rows["allreduce"] if row["bytes"] == near}
    if not {"horovod", "mpi", "MPI"} <= times.keys():
        return None
    return max(times["horovod"], times["mpi"]) / times["MPI"]


TARGETS = (
    Target("1. `gradient` or `sharded` over the best peer", 1.25, lambda rows: _over(_ours(rows), _best_peer(rows))),
    Target("1. the same over PyTorch DDP", 1.8, lambda rows: _over(_ours(rows), _rate(rows, "DDP"))),
    Target("2. of the floor: forward and backward alone", 0.85, _of_floor),
    Target("3. `parameter` H=16 over `none`", 0.97, lambda rows: _over(_rate(rows, "parameter"), _rate(rows, "hvd_ae none"))),
    Target("4. weak scaling from 1 to 2 ranks", 0.92, lambda rows: None),
    Target("5. engines' time over bare `MPI_Allreduce`, 4 MB", 1.3, _slower_than_mpi, at_most=True),
    Target("6. `parameter` H=64 on 100 Mbit/s over unlimited", 0.90, lambda rows: None),
    Target("7. memory-mapped over in-memory speed", 0.80, lambda rows: None),
    Target("8. P1B1: peak memory in vectors", 6.0, lambda rows: None, at_most=True),
    Target("9. seconds to `hvd-ae --help`", 0.5, lambda rows: None, at_most=True),
    Target("10. `--buckets`: share of communication hidden", 0.5, lambda rows: None),
)
