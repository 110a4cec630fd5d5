"""A step taken apart: training as users get it, each of its parts alone, and what this machine could do at best."""

from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import jobs, rows
from benchmarks.data import data_name
from hvd_ae.settings.fields import setting


@dataclass(frozen=True)
class Step:
    """What to measure."""

    ranks: int = setting(2, "Number of ranks.")
    batch_size: int = setting(128, "Samples per rank and step.")
    data: str | None = setting(None, "As `hvd-ae train` takes it [fashion-mnist where it is, else made-up samples of its "
                               "shape].")
    rounds: int = setting(15, "Times that each part has its turn.")
    short: bool = setting(False, "2 rounds of short epochs of made-up data.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Step) -> int:
    """A job for each engine, in which all parts take turns."""
    rounds = 2 if settings.short else settings.rounds
    data = settings.data or ("synthetic:15000x784" if settings.short else data_name())
    found = []
    for engine in ("mpi", "horovod"):
        ranks = jobs.module("benchmarks.step_ranks", engine, data, settings.batch_size, rounds)
        try:
            found += jobs.run(jobs.mpirun(settings.ranks, *ranks), timeout=1200).rows
        except jobs.JobFailed as failure:
            print(f"{engine}: {failure}")
            found.append({"part": None, "engine": engine, "reason": str(failure), **rows.spread([])})
    found = [{**row, "ranks": settings.ranks, "batch_size": settings.batch_size, "data": data} for row in found]
    rows.append("step", found, {**asdict(settings), "rounds": rounds}, settings.results)
    for row in found:
        if row["part"]:
            print(f"{row['engine']:<8} {row['part']:<26} {row['median'] * 1e3:>9.3f} ms  "
                  f"({row['low'] * 1e3:.3f} to {row['high'] * 1e3:.3f})")
    return int(any(row["part"] is None for row in found))
