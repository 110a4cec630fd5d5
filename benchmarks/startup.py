"""Seconds from pressing return: to the help, to the first step, and to the end of a run of one step."""

import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import jobs, rows
from benchmarks.contest import Outcome, alternate
from hvd_ae.settings.fields import setting


@dataclass(frozen=True)
class Startup:
    """How often, and on how many ranks."""

    rounds: int = setting(7, "Times that each has its turn, after one that fills the page cache.")
    ranks: int = setting(2, "Number of ranks.")
    short: bool = setting(False, "1 round.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Startup) -> int:
    """Start each again and again."""
    rounds = 1 if settings.short else settings.rounds
    split: dict[str, list[float]] = {}  # what the jobs to the first step say of themselves
    contestants = {"hvd-ae --help": partial(_seconds, [jobs.HVD_AE, "--help"])}
    for ranks in (1, settings.ranks):
        contestants[f"first step, {_ranks(ranks)}"] = partial(_first_step, ranks, split)
        contestants[f"whole run of one step, {_ranks(ranks)}"] = partial(_one_step_run, ranks)
    try:
        contestants["hvd-ae --help"]()
        _first_step(1, {})
    except jobs.JobFailed as failure:
        print(f"startup: {failure}")
    outcomes = alternate(contestants, rounds)
    outcomes |= {name: Outcome(values) for name, values in split.items()}
    found = [{"what": name, "reason": outcome.reason, **rows.spread(outcome.values)} for name, outcome in outcomes.items()]
    rows.append("startup", found, {**asdict(settings), "rounds": rounds}, settings.results)
    for row in found:
        print(f"{row['what']:<48} " + (row["reason"] or f"{row['median']:.2f} s ({row['low']:.2f} to {row['high']:.2f})"))
    return 0


def _ranks(ranks: int) -> str:
    return "alone" if ranks == 1 else f"{ranks} ranks"


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    jobs.run(command, timeout=180)
    return time.perf_counter() - started


def _first_step(ranks: int, split: dict[str, list[float]]) -> float:
    """Seconds to the end of the first step; puts its parts, as the slowest rank has them, into `split`."""
    ended = jobs.run(jobs.mpirun(ranks, *jobs.module("benchmarks.startup_ranks", time.time())), timeout=180)
    said = ended.rows[0]
    split.setdefault(f"import of TensorFlow, {_ranks(ranks)}", []).append(said["import_seconds"])
    beyond = said["first_step_seconds"] - said["import_seconds"]
    split.setdefault(f"first step beyond that import, {_ranks(ranks)}", []).append(beyond)
    return said["first_step_seconds"]


def _one_step_run(ranks: int) -> float:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return _seconds(jobs.mpirun(ranks, jobs.HVD_AE, "train", "--steps", "1", "--run-dir", f"{folder}/run"))
