"""What the benchmarks train on: Fashion-MNIST where it is, else made-up samples of its shape."""

from pathlib import Path

import numpy as np

from hvd_ae.data.load import load
from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

_MADE_UP = "synthetic:60000x784"


def fashion_shaped() -> tuple[str, np.ndarray]:
    """What `hvd-ae train --data` takes, and its training samples, (samples, 784), uint8 or float32 of 0 to 1."""
    for name in ("fashion-mnist", _MADE_UP):
        try:
            train = load(name, World()).train
            return name, train.read_all(SAMPLES).reshape(train.count, -1)
        except Refused:
            continue
    raise AssertionError(f"{_MADE_UP} can always be made")


def epochs_of(rows: int, folder: Path) -> list[str]:
    """Flags of `hvd-ae train` for two epochs of exactly so many rows: the first warms up, the second is the same again."""
    train, validation = folder / f"train-{rows}.npy", folder / "validation.npy"
    if not train.exists():
        samples = fashion_shaped()[1]
        np.save(train, np.resize(samples, (rows, samples.shape[1])))
        np.save(validation, samples[:1000])
    return ["--data", str(train), "--validation-data", str(validation), "--epochs", "2"]


def data_name() -> str:
    return fashion_shaped()[0]
