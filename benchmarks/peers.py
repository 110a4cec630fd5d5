"""This package beside what a user would take instead: same model, data, optimizer, global batch and cores."""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import rows

_BIN = Path(sys.executable).parent
_MPIRUN = [str(_BIN / "mpirun"), "-np", "2"]
_TRAIN = [str(_BIN / "hvd-ae"), "train", "--model", "deep", "--batch-size", "128", "--checkpoint-every", "0"]

OURS = {
    "hvd_ae gradient, horovod": ["--averaging", "gradient", "--collectives", "horovod"],
    "hvd_ae gradient, mpi": ["--averaging", "gradient", "--collectives", "mpi"],
    "hvd_ae sharded, horovod": ["--averaging", "sharded", "--collectives", "horovod"],
    "hvd_ae sharded, mpi": ["--averaging", "sharded", "--collectives", "mpi"],
    "hvd_ae parameter H=16": ["--averaging", "parameter", "--sync-every", "16"],
    "hvd_ae none": ["--averaging", "none"],
}
THEIRS = {
    "PyTorch, one process": ("torch_one", []),
    "PyTorch DDP, gloo": ("torch_ddp", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]),
    "Keras fit, one process": ("keras_fit", []),
    "Horovod, tape per variable": ("horovod_tape", _MPIRUN),
}


@dataclass(frozen=True)
class Peers:
    """How long, and how often."""

    rounds: int = 5
    """Times that each contestant has its turn."""
    steps: int = 940
    """Timed steps of a global batch of 256 in each turn."""
    short: bool = False
    """2 rounds of 300 steps."""
    only: str = ""
    """Contestants whose name holds this."""


def main(settings: Peers) -> None:
    """Let all take turns, and keep every rate."""
    rounds, steps = (2, 300) if settings.short else (settings.rounds, settings.steps)
    names = [name for name in (*OURS, *THEIRS) if settings.only in name]
    rates: dict[str, list[float]] = {name: [] for name in names}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npy"
        np.save(images, _images())
        for number in range(rounds):
            for name in names:
                if name in reasons:
                    continue
                rate, reason = _run(name, images, steps, Path(folder) / f"run-{number}-{len(rates[name])}-{names.index(name)}")
                if reason:
                    reasons[name] = reason
                else:
                    rates[name].append(rate)
                print(f"round {number + 1}: {name:<28} {reason or f'{rate:,.0f} samples/s'}", flush=True)
    rows.append("peers", [{"contestant": name, "not_measured": reasons.get(name), "steps": steps, **rows.spread(rates[name])}
                          for name in names])


def _images() -> np.ndarray:
    """Fashion-MNIST where it is, else bytes of the same shape, uint8 (60000, 784)."""
    from hvd_ae.data.sources import load
    from hvd_ae.errors import Refused
    from hvd_ae.world import World

    try:
        train = load("fashion-mnist", World(), 0.1).train
        return np.ascontiguousarray(train.values).reshape(train.count, -1)
    except Refused:
        return np.random.default_rng(0).integers(0, 256, (60000, 784), np.uint8)


def _run(name: str, images: Path, steps: int, folder: Path) -> tuple[float, str]:
    """Samples per second, and why it could not be measured, if so."""
    if name in OURS:
        steps += 1  # the first is traced, and not timed
        command = [*_MPIRUN, *_TRAIN, *OURS[name], "--data", str(images), "--validation-split", "0.002", "--steps", str(steps),
                   "--epochs", "1000", "--run-dir", str(folder)]
    else:
        script, launcher = THEIRS[name]
        if script.startswith("torch") and importlib.util.find_spec("torch") is None:
            return 0.0, "torch is not installed: pip install '.[peers]'"
        python = launcher if launcher[:1] == [sys.executable] else [*launcher, sys.executable]
        command = [*python, "-m", f"benchmarks.contestants.{script}", str(images), "100", str(steps)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=rows.ROOT, check=False, timeout=600)
    if ended.returncode:
        last = (ended.stderr.strip() or "no message").splitlines()[-1]
        return 0.0, f"failed with status {ended.returncode}: {last[:200]}"
    if name in OURS:
        return json.loads((folder / "summary.json").read_text())["samples_per_second"], ""
    return float(re.search(r"^RATE (\S+)", ended.stdout, flags=re.M)[1]), ""
