"""Codes of many samples as `hvd-ae encode` writes them, beside the forward pass alone and Keras's `predict`, by core."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import jobs, rows
from hvd_ae.settings.fields import setting

FEATURES = 784
_BLOCK = 4096  # rows that are made at a time


@dataclass(frozen=True)
class Encode:
    """How much, on how many ranks."""

    samples: int = setting(120_000, "Of 784 float32, for each rank.")
    ranks: str = setting("1,2", "Numbers of ranks, a core each, with commas between them.")
    rounds: int = setting(5, "Times that each has its turn.")
    short: bool = setting(False, "2 ranks, 2 rounds.")
    folder: Path = setting(Path(tempfile.gettempdir()), "Where the data are written for as long as it takes.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Encode) -> int:
    """Train a model for a step, make data, and let all take turns in one job of ranks."""
    numbers, rounds = ("2", 2) if settings.short else (settings.ranks, settings.rounds)
    found = []
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=settings.folder) as folder:
        run_dir = Path(folder) / "run"
        jobs.run([jobs.HVD_AE, "train", "--data", f"synthetic:1000x{FEATURES}", "--model", "deep", "--steps", "1", "--run-dir",
                  str(run_dir)])
        for ranks in map(int, numbers.split(",")):
            data = make_data(Path(folder) / f"{ranks}.npy", settings.samples * ranks)
            command = jobs.module("benchmarks.encode_ranks", run_dir, data, rounds)
            said = jobs.run(jobs.mpirun(ranks, *command), cores=ranks).rows[0]
            found += [{"what": what, "ranks": ranks, "reason": None, **rows.spread(rates)} for what, rates in said.items()]
            data.unlink()
    rows.append("encode", found, {**asdict(settings), "ranks": numbers, "rounds": rounds}, settings.results)
    for row in found:
        print(f"{row['ranks']} ranks  {row['what']:<24} {row['median']:>9,.0f} samples/s a core ({row['low']:,.0f} to "
              f"{row['high']:,.0f})")
    return 0


def make_data(path: Path, count: int) -> Path:
    """Rows of numbers between 0 and 1."""
    block = np.random.default_rng(0).random((_BLOCK, FEATURES), np.float32)
    data = np.lib.format.open_memmap(path, "w+", np.float32, (count, FEATURES))
    for first in range(0, count, _BLOCK):
        data[first : first + _BLOCK] = block[: count - first]
    data.flush()
    return path
