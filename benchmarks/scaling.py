"""Speed over ranks, threads, strategies and H, through the command line: weak (as much for each rank) and strong (in all)."""

import os
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import jobs, rows, strategies
from benchmarks.contest import alternate
from benchmarks.data import epochs_of
from hvd_ae.settings.fields import setting


@dataclass(frozen=True)
class Scaling:
    """What to measure."""

    ranks: str = setting("1,2,4", "Numbers of ranks, with commas between them; more than there are cores share them.")
    strategies: str = setting("gradient,sharded@mpi,parameter H=16,parameter H=64,none", "Strategies, with commas "
                              "between them, each with its period (H) where it has one, and with @ENGINE where it is not to "
                              "be the default.")
    batch_size: int = setting(128, "Samples per rank and step in weak scaling; twice as many in all in strong scaling.")
    steps: int = setting(250, "Of each of two epochs of a turn, rounded up to whole periods.")
    rounds: int = setting(3, "Times that each point has its turn.")
    short: bool = setting(False, "1 and 2 ranks, weak, sharded@mpi and parameter H=16, 1 round of 192 steps.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


@dataclass(frozen=True)
class Point:
    """One job; a rank has one core where there are enough."""

    kind: str  # weak or strong
    strategy: str
    ranks: int
    batch_size: int  # of each rank
    cores: int  # that the whole job may use
    threads: int  # of each rank


def main(settings: Scaling) -> int:
    """Let all points take turns."""
    rounds, steps = (1, 192) if settings.short else (settings.rounds, settings.steps)
    extra: dict[str, dict] = {}
    named = {str(point): point for point in points(settings)}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        turns = {name: partial(_turn, point, Path(folder), steps, extra) for name, point in named.items()}
        outcomes = alternate(turns, rounds)
    rows.append("scaling", [{**asdict(point), "reason": outcomes[name].reason, **extra.get(name, _NOTHING),
                             **rows.spread(outcomes[name].values)} for name, point in named.items()],
                {**asdict(settings), "rounds": rounds, "steps": steps}, settings.results)
    return 0


def points(settings: Scaling) -> list[Point]:
    cores = len(os.sched_getaffinity(0))
    batch, total = settings.batch_size, 2 * settings.batch_size
    if settings.short:
        return [Point("weak", strategy, ranks, batch, min(ranks, cores), 1)
                for strategy in ("sharded@mpi", "parameter H=16") for ranks in (1, 2)]
    ranks = [int(text) for text in settings.ranks.split(",")]
    found = [Point("weak", strategy, each, batch, min(each, cores), 1)
             for strategy in strategies.names(settings.strategies) for each in ranks]
    found += [Point("strong", strategy, each, total // each, cores, 1)
              for strategy in ("gradient", "sharded@mpi") for each in ranks]
    return [*found, Point("strong", "gradient", 1, total, cores, cores)]


_NOTHING = {"communication_share": None, "bytes_sent_per_step": None, "peak_bytes": None, "engine": None}


def _turn(point: Point, folder: Path, steps: int, extra: dict) -> float:
    """Samples per second over all ranks; what else the last turn showed goes into `extra`."""
    strategy = point.strategy if point.ranks > 1 else point.strategy.partition("@")[0]  # one rank by itself needs no engine
    data = epochs_of(point.batch_size * point.ranks * strategies.steps_for(point.strategy, steps), folder)
    trained = jobs.train(point.ranks, *data, "--model", "deep", "--batch-size", point.batch_size, "--threads", point.threads,
                         *strategies.flags(strategy), cores=point.cores)
    extra[str(point)] = {
        "communication_share": trained.communication_share,
        "bytes_sent_per_step": trained.bytes_sent_per_step,
        "peak_bytes": max((seen["peak"] for seen in trained.memory.values()), default=None),
        "engine": trained.summary["collectives"],
    }
    print(f"{point.kind:<6} {point.strategy:<15} {point.ranks} x {point.batch_size:<4} {point.threads} threads "
          f"{trained.rate:>9,.0f} samples/s", flush=True)
    return trained.rate
