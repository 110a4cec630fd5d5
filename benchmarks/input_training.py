"""Trainings of `benchmarks input`: their speed in every format, what windows cost in error, and the memory of ranks."""

from pathlib import Path

import numpy as np

from benchmarks import jobs
from benchmarks.data import fashion_shaped
from benchmarks.input_files import FEATURES, write_by_class, write_large
from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS
from hvd_ae.runtime.world import World

_RANKS = 2
_STEPS_OF_LARGE = 2500  # five windows of half a gigabyte


def speed(path: Path) -> tuple[float, float]:
    """Samples a second of the first epoch, in which the data are read, and of the later ones."""
    trained = jobs.train(_RANKS, "--data", path, "--validation-samples", 1000, "--validation-split", 0.02, "--model", "deep",
                         "--epochs", 3)
    rates = [epoch["timed_samples"] / epoch["timed_seconds"] for epoch in trained.epochs]
    return rates[0], float(np.median(rates[1:]))


def errors_by_class(folder: Path, epochs: int) -> dict[str, float]:
    """The validation error after the same epochs of data that lie sorted by class: in a uniform order, and in windows."""
    name, samples = fashion_shaped()
    train = load(name, World()).train
    classes = train.read_all(LABELS) if LABELS in train.fields else np.argmax(samples[:, :10], axis=1)
    path, validation = write_by_class(folder, samples, classes), folder / "validation.npy"
    np.save(validation, np.asarray(load(name, World()).validation.read_all("samples")).reshape(-1, FEATURES)[:5000])
    found = {}
    for order, memory in (("uniform", 4 * samples.nbytes), ("windows of a tenth", 2 * samples.nbytes // 10)):
        trained = jobs.train(_RANKS, "--data", path, "--validation-data", validation, "--model", "deep", "--epochs", epochs,
                             "--shuffle-memory", int(memory))
        found[order] = trained.summary["val_mse"]
        print(f"by class, {order:<30} val_mse {found[order]:.5f}", flush=True)
    return found


def peaks(folder: Path, little: Path, gigabytes: float) -> dict[str, int]:
    """Peak resident size of the rank that has most: with a small data set, and with a large one in windows of half a GB."""
    found = {}
    for size, path in (("little", little), ("much", write_large(folder, gigabytes))):
        trained = jobs.train(_RANKS, "--data", path, "--validation-samples", 1000, "--validation-split", 0.01, "--model",
                             "deep", "--epochs", 1000, "--steps", _STEPS_OF_LARGE if size == "much" else 100,
                             *(("--shuffle-memory", "1GB") if size == "much" else ()))
        found[size] = max(of_rank["peak"] for of_rank in trained.memory.values())
        print(f"memory, {size:<32} {found[size] / 1e6:,.0f} MB", flush=True)
    return found
