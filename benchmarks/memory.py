"""Resident size of each rank, and speed: an array in memory, the same rows memory-mapped, and next to no data."""

import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import jobs, rows
from benchmarks.contest import alternate
from hvd_ae.settings.fields import setting

_FEATURES = 784
_BLOCK = 4096  # rows that are made at a time


@dataclass(frozen=True)
class Memory:
    """How much, and on how many ranks."""

    gigabytes: float = setting(4.0, "Of the data, as 10^9 bytes of float32.")
    ranks: str = setting("1,2,4", "Numbers of ranks, with commas between them.")
    steps: int = setting(400, "Timed in each turn; before them every rank reads its rows once, to check them, which warms the "
                         "page cache.")
    rounds: int = setting(3, "Times that each has its turn.")
    short: bool = setting(False, "0.2 GB, 2 ranks, one round of 150 steps.")
    folder: Path = setting(Path(tempfile.gettempdir()), "Where twice the data are written for as long as it takes.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Memory) -> int:
    """Make the files, let all take turns, and keep the largest resident sizes."""
    gigabytes, numbers, rounds, steps = settings.gigabytes, settings.ranks, settings.rounds, settings.steps
    if settings.short:
        gigabytes, numbers, rounds, steps = 0.2, "2", 1, 150
    seen: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=settings.folder) as folder:
        files = make_files(Path(folder), int(gigabytes * 1e9))
        points = {f"{how}, {ranks} ranks": (how, int(ranks)) for ranks in numbers.split(",") for how in files}
        turns = {name: partial(_turn, name, files[how], ranks, steps, seen) for name, (how, ranks) in points.items()}
        sizes = {how: path.stat().st_size for how, path in files.items()}
        outcomes = alternate(turns, rounds)
    rows.append("memory", [
        {"how": how, "ranks": ranks, "data_bytes": sizes[how], "reason": outcomes[name].reason,
         **seen.get(name, dict.fromkeys(_SIZES)), **rows.spread(outcomes[name].values)}
        for name, (how, ranks) in points.items()
    ], {**asdict(settings), "gigabytes": gigabytes, "ranks": numbers, "rounds": rounds, "steps": steps}, settings.results)
    return 0


_SIZES = ("peak", "anonymous", "file")


def make_files(folder: Path, size: int) -> dict[str, Path]:
    """The same rows as .npy, which ranks map into memory, and as .npz, which each reads as a whole; and few rows."""
    count = size // (4 * _FEATURES)
    files = {"little": folder / "little.npy", "memory-mapped": folder / "data.npy", "in memory": folder / "data.npz"}
    random = np.random.default_rng(0)
    block = random.random((_BLOCK, _FEATURES), np.float32)
    np.save(files["little"], block)
    data = np.lib.format.open_memmap(files["memory-mapped"], "w+", np.float32, (count, _FEATURES))
    for first in range(0, count, _BLOCK):
        data[first : first + _BLOCK] = block[: count - first]
    data.flush()
    np.savez(files["in memory"], data)
    return files


def _turn(name: str, path: Path, ranks: int, steps: int, seen: dict) -> float:
    """Samples per second over all ranks; the largest sizes of any rank so far go into `seen`."""
    jobs.refuse_what_does_not_fit(ranks * (1e9 + (path.stat().st_size if path.suffix == ".npz" else 0)))
    trained = jobs.train(ranks, "--data", path, "--validation-split", 0.01, "--model", "deep", "--epochs", 1000,
                         "--steps", steps + 1)
    before = seen.get(name, dict.fromkeys(_SIZES, 0))
    seen[name] = {size: max(before[size], *(of_rank[size] for of_rank in trained.memory.values())) for size in _SIZES}
    print(f"{name:<26} {trained.rate:>9,.0f} samples/s, resident " +
          ", ".join(f"{size} {seen[name][size] / 1e6:,.0f} MB" for size in _SIZES), flush=True)
    return trained.rate
