"""What `benchmarks anomaly` judges: samples of which it is known which are odd, in two settings each."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np

from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

TABULAR = Path(__file__).with_name("anomaly_sets")
SERIES = "KDD-TSAD_135"
PICTURES = "fashion-mnist"
_WINDOW = 64  # values of the series that make a sample
_ODD_SHARE = 0.05  # of pictures that are learnt from together with those of a class


@dataclass(frozen=True)
class Case:
    """What is learnt from, and what is judged.

    learnt_from: "all", where odd samples are among them, or "normal".
    learnt: float64 (samples, features).
    judged: the same, of what may be other samples.
    is_odd: bool, of those that are judged.
    """

    learnt_from: str
    learnt: np.ndarray
    judged: np.ndarray
    is_odd: np.ndarray


def names(folder: Path = TABULAR) -> list[str]:
    """The tabular sets of a folder, the series, and each class of pictures against the others."""
    return [path.stem for path in sorted(folder.glob("*.npz"))] + [SERIES] + [f"{PICTURES}-{number}" for number in range(10)]


def cases(name: str, seed: int, folder: Path = TABULAR) -> Iterator[Case]:
    """The two settings of a set.

    Raises:
        Refused: it is not there.
    """
    if name == SERIES:
        yield from _series()
    elif name.startswith(PICTURES):
        yield from _pictures(int(name.rpartition("-")[2]), seed)
    else:
        with np.load(folder / f"{name}.npz") as file:
            yield from _tabular(file["X"].astype(np.float64), file["y"].astype(bool), seed)


def _tabular(samples: np.ndarray, is_odd: np.ndarray, seed: int) -> Iterator[Case]:
    """All are learnt from and judged; or half of the normal ones are learnt from, and the others and all odd ones judged."""
    yield Case("all", samples, samples, is_odd)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~is_odd))
    learnt = normal[: len(normal) // 2]
    judged = np.setdiff1d(np.arange(len(samples)), learnt)
    yield Case("normal", samples[learnt], samples[judged], is_odd[judged])


def _series() -> Iterator[Case]:
    """Windows of one value after the other; odd ones have a value in them that is. Its first part is known to be normal."""
    try:
        found = {path.stem.rpartition("_")[2]: path.locate() for path in files("aeon") or [] if SERIES in path.parts}
    except PackageNotFoundError:
        raise Refused(f"{SERIES} is in aeon's wheel, which is not installed: pip install --no-deps aeon, or name others by "
                      "--sets") from None
    (first, _), (series, is_odd) = (_read(found[part]) for part in ("TRAIN", "TEST"))
    yield Case("all", _windows(series), _windows(series), _windows(is_odd).any(axis=1))
    rest = slice(len(first), None)  # the second file repeats the first
    yield Case("normal", _windows(first), _windows(series[rest]), _windows(is_odd[rest]).any(axis=1))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([float(row["value"]) for row in rows]), np.array([row["is_anomaly"] == "1" for row in rows])


def _windows(values: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values, _WINDOW)


def _pictures(number: int, seed: int) -> Iterator[Case]:
    """All: a class's training samples with some of the others among them. Normal: these alone; the test samples are judged."""
    splits = load(PICTURES, World())
    (seen, of_seen), (test, of_test) = (
        (part.read_all(SAMPLES).reshape(part.count, -1).astype(np.float64), part.read_all(LABELS))
        for part in (splits.train, splits.validation))
    normal, others = seen[of_seen == number], np.flatnonzero(of_seen != number)
    count = round(_ODD_SHARE / (1 - _ODD_SHARE) * len(normal))
    together = np.concatenate([normal, seen[np.random.default_rng(seed).choice(others, count, replace=False)]])
    yield Case("all", together, together, np.arange(len(together)) >= len(normal))
    yield Case("normal", normal, test, of_test != number)
