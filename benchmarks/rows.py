"""Rows of results: one JSON line a measurement, with all that is needed to read it later."""

import json
import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("hvd_ae", "tensorflow", "keras", "numpy", "mpi4py", "mpich", "horovod", "torch")


def append(benchmark: str, rows: list[dict]) -> None:
    """Append rows to results/BENCHMARK.jsonl, each with date, commit, versions and hardware. None is "not measured"."""
    RESULTS.mkdir(exist_ok=True)
    about = provenance()
    with open(RESULTS / f"{benchmark}.jsonl", "a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({**row, **about}, allow_nan=False) + "\n")


def read(benchmark: str, results: Path = RESULTS) -> list[dict]:
    """All rows; none where it was never measured."""
    path = results / f"{benchmark}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def latest(rows: list[dict]) -> list[dict]:
    """The rows of the newest run."""
    newest = max((row["run"] for row in rows), default=None)
    return [row for row in rows if row["run"] == newest]


def provenance() -> dict:
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True,
                            text=True, check=False).stdout.strip()
    return {"run": time.strftime("%Y-%m-%dT%H:%M:%S"), "commit": commit or None, "versions": _versions(),
            "cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())


def spread(values: list[float]) -> dict:
    """Median and quartiles; None where nothing was measured."""
    if not values:
        return {"median": None, "low": None, "high": None, "rounds": 0}
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high, "rounds": len(values)}
