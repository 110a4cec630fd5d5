"""Rows of results: one JSON line a measurement, with all that is needed to read it years later."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hvd_ae.runs.files import append_line

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("hvd_ae", "tensorflow", "keras", "numpy", "mpi4py", "mpich", "horovod", "torch", "scikit-learn", "pyod")


def append(benchmark: str, rows: list[dict], settings: dict, results: Path = RESULTS, run: str | None = None) -> None:
    """Append rows to RESULTS/BENCHMARK.jsonl, each with date, commit, versions, hardware and settings.

    Rows of one process are one run: numbers are compared within a run only. None stands for what was not measured.

    Args:
        run: the date of the run that these are a part of [that of this process].

    Raises:
        ValueError: a number is not finite, which JSON cannot hold.
    """
    results.mkdir(parents=True, exist_ok=True)
    about = {"settings": {name: value for name, value in settings.items() if not isinstance(value, Path)}, **provenance(),
             "others_share": others_share(_begun(), used(), len(os.sched_getaffinity(0)))}
    about |= {} if run is None else {"run": run}
    append_line(results / f"{benchmark}.jsonl", "\n".join(json.dumps({**row, **about}, allow_nan=False) for row in rows))


def read(benchmark: str, results: Path = RESULTS) -> list[dict]:
    """All rows in the order they were measured; none where it was never measured."""
    path = results / f"{benchmark}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for row in rows:
        if "way" in row:  # as strategies were called until version 0.2
            row["strategy"] = row.pop("way")
    return rows


def latest(rows: list[dict]) -> list[dict]:
    """The rows of the newest run."""
    newest = max((row["run"] for row in rows), default=None)
    return [row for row in rows if row["run"] == newest]


def runs(rows: list[dict]) -> list[list[dict]]:
    """The rows of each run, the newest run first."""
    return [[row for row in rows if row["run"] == run] for run in sorted({row["run"] for row in rows}, reverse=True)]


def spread(values: list[float]) -> dict:
    """Median, lower and upper quartile, and the values themselves; None where nothing was measured."""
    if not values:
        return {"median": None, "low": None, "high": None, "values": []}
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median, "low": low, "high": high, "values": values}


@cache
def provenance() -> dict:
    """What a benchmark runs on; of the moment when it is first asked, which should be before anything is measured."""
    _begun()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "run": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "commit": _commit(), "versions": _versions(), "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory, "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),  # of a benchmark that has just ended, too
    }


@dataclass(frozen=True)
class Used:
    """Seconds since some moment."""

    clock: float
    all: float  # that this process's cores were busy, with whatever
    own: float  # that this process and its children, those of theirs included, were running


def used() -> Used:
    """Children count when they have ended. What the hypervisor took counts as busy, the kernel's own interrupts do not."""
    busy = 0
    with open("/proc/stat", encoding="utf-8") as file:
        for name, *ticks in map(str.split, file):
            if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
                user, nice, system, _, _, _, _, steal = map(int, ticks[:8])
                busy += user + nice + system + steal
    return Used(time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]))


def others_share(begun: Used, ended: Used, cores: int) -> float | None:
    """The part of the cores' time that other processes took; None where no time has passed."""
    seconds = ended.clock - begun.clock
    others = (ended.all - begun.all) - (ended.own - begun.own)
    return round(min(1.0, max(0.0, others / (cores * seconds))), 3) if seconds > 0 else None  # clocks tick in hundredths


@cache
def _begun() -> Used:
    return used()


def _commit() -> str | None:
    """Short, with -dirty where files that could change a number have changed; None outside of a repository."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    if shutil.which("git") is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!*.md")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "") or None


def _versions() -> dict[str, str | None]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
