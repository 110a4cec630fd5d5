"""This package beside what a user would take instead: same model, data, optimizer, global batch and cores, in one run."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import jobs, rows
from benchmarks.contest import alternate
from benchmarks.data import fashion_shaped
from hvd_ae.settings.fields import setting

_TORCHRUN = jobs.module("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
_ALONE = jobs.module("")[:-1]

# What is ours is a command of the package; a peer's is a launcher, a file of this folder, and settings to try, of which the
# best takes part.
OURS = {
    "hvd_ae gradient, horovod": ["--averaging", "gradient", "--collectives", "horovod"],
    "hvd_ae gradient, mpi": ["--averaging", "gradient", "--collectives", "mpi"],
    "hvd_ae sharded, horovod": ["--averaging", "sharded", "--collectives", "horovod"],
    "hvd_ae sharded, mpi": ["--averaging", "sharded", "--collectives", "mpi"],
    "hvd_ae parameter H=16": ["--averaging", "parameter", "--sync-every", "16"],
    "hvd_ae none": ["--averaging", "none"],
    "hvd_ae sharded, mpi, bfloat16": ["--averaging", "sharded", "--collectives", "mpi", "--precision", "bfloat16"],
}
THEIRS: dict[str, tuple[list[str], str, list[list[str]]]] = {
    "PyTorch, one process": (_ALONE, "torch_one", [[], ["compile=1"], ["threads=1"], ["loader=1"]]),
    "PyTorch DDP, gloo": (_TORCHRUN, "torch_ddp", [[], ["compile=1"], ["loader=1"]]),
    "Keras fit, one process": (_ALONE, "keras_fit", [[], ["steps=200"], ["jit=0"], ["jit=1"]]),
    "Horovod, tape per variable": (jobs.mpirun(2, *_ALONE), "horovod_tape", [["cycle=0.1"], ["cycle=1"]]),
    "MultiWorkerMirroredStrategy": (_ALONE, "multi_worker", [[]]),
    "PyTorch, one process, bfloat16": (_ALONE, "torch_one", [["precision=bfloat16"], ["precision=bfloat16", "compile=1"]]),
    "Keras fit, one process, bfloat16": (_ALONE, "keras_fit", [["precision=bfloat16"], ["precision=bfloat16", "steps=200"]]),
}
# Blocks below 32 MB are kept for the next step instead of being mapped anew: this package says so to glibc when it imports
# TensorFlow, and so do all peers that import it so; PyTorch's tuning guide asks for an allocator that does the same.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
# Its speed has two humps, at 15,000 and at 20,000 samples/s: the median of few turns is one or the other by chance.
TURNS = {"Keras fit, one process": 3}


@dataclass(frozen=True)
class Peers:
    """How long, and how often."""

    rounds: int = setting(7, "Times that each contestant has its turn; Keras has three turns each time.")
    seconds: float = setting(8.0, "For which a peer is timed in each turn, after a quarter as long to warm up.")
    tune: bool = setting(True, "Try each peer's settings first, and take its best; otherwise what was the best in the last "
                         "run that tried.")
    short: bool = setting(False, "1 round of 3 seconds, nothing tried first, no bfloat16, and not what fails "
                          "(MultiWorkerMirroredStrategy).")
    only: str = setting("", "Contestants whose names hold this.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Peers) -> int:
    """Let all take turns, and keep every rate."""
    rounds, seconds = (1, 3.0) if settings.short else (settings.rounds, settings.seconds)
    name, samples = fashion_shaped()
    # as many steps as two cores have taken in this time, and one that is traced and not timed
    steps = 1 + round(seconds * 100)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "samples.npy"
        np.save(path, samples)
        contestants = {ours: partial(_ours, name, steps, flags) for ours, flags in OURS.items()
                       if _takes_part(settings, ours)}
        tried = {}
        for peer in filter(partial(_takes_part, settings), THEIRS):
            tune = settings.tune and not settings.short
            tried[peer] = _tried(peer, path, seconds) if tune else {}
            best = max(tried[peer], key=lambda variant: tried[peer][variant] or 0, default=_last_best(peer, settings.results))
            contestants[peer] = partial(_theirs, peer, best.split(), path, seconds)
        outcomes = alternate({each: _told(each, run) for each, run in contestants.items()}, rounds, TURNS)
    rows.append("peers", [
        {"contestant": each, "data": name, "global_batch": 256, "reason": outcome.reason, **rows.spread(outcome.values),
         "variant": " ".join(contestants[each].args[1]) if each in THEIRS else " ".join(OURS[each]), "tried": tried.get(each)}
        for each, outcome in outcomes.items()
    ], {**asdict(settings), "rounds": rounds, "seconds": seconds}, settings.results)
    return 0


def _takes_part(settings: Peers, contestant: str) -> bool:
    left_out = settings.short and contestant.endswith(("bfloat16", "MultiWorkerMirroredStrategy"))
    return settings.only in contestant and not left_out


def _told(name: str, run: Callable[[], float]) -> Callable[[], float]:
    """The same, saying what came out."""
    def told() -> float:
        try:
            rate = run()
        except jobs.JobFailed as failure:
            print(f"{name:<28} no number: {failure}", flush=True)
            raise
        print(f"{name:<28} {rate:>9,.0f} samples/s", flush=True)
        return rate

    return told


def _ours(data: str, steps: int, flags: list[str]) -> float:
    return jobs.train(2, "--data", data, "--model", "deep", "--batch-size", 128, "--epochs", 1000, "--steps", steps,
                      *flags).rate


def _theirs(peer: str, variant: list[str], path: Path, seconds: float) -> float:
    launcher, file, _ = THEIRS[peer]
    command = [*launcher, f"benchmarks.peers.{file}", str(path), str(max(1.0, seconds / 4)), str(seconds), *variant]
    return jobs.run(command, timeout=180, **ALLOCATOR).rate()


def _tried(peer: str, path: Path, seconds: float) -> dict[str, float | None]:
    """The median rate of each of the peer's settings in three short turns; None where it failed."""
    variants = {" ".join(variant): partial(_theirs, peer, variant, path, seconds / 2) for variant in THEIRS[peer][2]}
    outcomes = alternate(variants, rounds=3 if len(variants) > 1 else 1)
    found = {variant: rows.spread(outcome.values)["median"] for variant, outcome in outcomes.items()}
    for variant, outcome in outcomes.items():
        if outcome.reason:
            print(f"{peer} {variant}: {outcome.reason}")
    print(f"{peer}: tried {found}", flush=True)
    return found


def _last_best(peer: str, results: Path) -> str:
    known = [row["variant"] for row in rows.read("peers", results) if row["contestant"] == peer and row["tried"]]
    return known[-1] if known else " ".join(THEIRS[peer][2][0])
