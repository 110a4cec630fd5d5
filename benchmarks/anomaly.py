"""The detector with its defaults beside PyOD's AutoEncoder, IForest and PCA with theirs: ROC AUC, average precision, seconds.

Tabular sets as ADBench 0.1 has them in `adbench/datasets/Classical` (https://github.com/Minqi824/ADBench, BSD 2-Clause; most
come from ODDS and UCI): .npz with `X` (samples, features) and `y`, 1 for odd samples. Each is learnt twice: from all its
samples, which are then judged; and from half of the normal ones, the others and all odd ones being judged.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import rows
from hvd_ae.errors import Refused
from hvd_ae.settings.fields import setting


@dataclass(frozen=True)
class Anomaly:
    """Which sets, and how often."""

    folder: str = setting(None, "Folder of the .npz files.", positional=True)
    sets: str | None = setting(None, "Their names, with commas between them [all in the folder].")
    detectors: str = setting("hvd_ae,AutoEncoder,IForest,PCA", "Which, with commas between them.")
    seeds: int = setting(5, "Trainings of each, from seeds 0, 1, ...", at_least=1)
    short: bool = setting(False, "One seed.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Anomaly) -> int:
    """A row for each set, setting, detector and seed; at the end the means over all sets."""
    paths = sorted(Path(settings.folder).glob("*.npz"))
    chosen = settings.sets.split(",") if settings.sets else [path.stem for path in paths]
    missing = sorted(set(chosen) - {path.stem for path in paths})
    if missing or not paths:
        raise Refused(f"{settings.folder} holds no {', '.join(missing) or '.npz'}: give the folder of ADBench's .npz files")
    makers = {name: maker(name) for name in settings.detectors.split(",")}
    for make in makers.values():  # what is done once in a process belongs to no set
        make(0).fit(np.random.default_rng(0).normal(size=(300, 4)))
    measured = []
    for path in paths:
        if path.stem not in chosen:
            continue
        with np.load(path) as file:
            samples, is_odd = file["X"].astype(np.float64), file["y"].astype(bool)
        for seed in range(1 if settings.short else settings.seeds):
            for learnt_from, learnt, judged, truth in splits(samples, is_odd, seed):
                for name, make in makers.items():
                    row = {"set": path.stem, "learnt_from": learnt_from, "detector": name, "seed": seed,
                           **measure(make(seed), learnt, judged, truth)}
                    measured.append(row)
                    print(json.dumps(row), flush=True)
    rows.append("anomaly", measured, asdict(settings), settings.results)
    print(table(measured))
    return 0


def maker(name: str) -> Callable[[int], object]:
    """From a seed to a detector with its own defaults."""
    if name == "hvd_ae":
        from hvd_ae import Detector

        return lambda seed: Detector(random_state=seed)
    try:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.iforest import IForest
        from pyod.models.pca import PCA
    except ImportError as error:
        raise Refused(f"{name} is PyOD's, which cannot be imported ({error}): pip install 'hvd_ae[peers]', or name others by "
                      "--detectors") from None
    kinds = {"AutoEncoder": lambda seed: AutoEncoder(random_state=seed, verbose=0),
             "IForest": lambda seed: IForest(random_state=seed), "PCA": lambda seed: PCA(random_state=seed)}
    return kinds[name]


def splits(samples: np.ndarray, is_odd: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """What is learnt from, and what is judged, with its truth."""
    yield "all", samples, samples, is_odd
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~is_odd))
    learnt = normal[: len(normal) // 2]
    judged = np.setdiff1d(np.arange(len(samples)), learnt)
    yield "normal", samples[learnt], samples[judged], is_odd[judged]


def measure(detector, learnt: np.ndarray, judged: np.ndarray, truth: np.ndarray) -> dict:
    """None where a detector cannot do it."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    started = time.perf_counter()
    try:
        detector.fit(learnt)
        seconds = time.perf_counter() - started
        scores = detector.decision_function(judged)
        return {"roc_auc": float(roc_auc_score(truth, scores)),
                "average_precision": float(average_precision_score(truth, scores)), "fit_seconds": seconds, "reason": None}
    except ValueError as error:  # PyOD's PCA, of features that never vary
        return {"roc_auc": None, "average_precision": None, "fit_seconds": None, "reason": str(error)[:200]}


def table(measured: list[dict]) -> str:
    """Markdown: for each set and way of learning the mean ROC AUC of each detector, and the seconds of a fit."""
    names = list(dict.fromkeys(row["detector"] for row in measured))
    lines = ["| learnt from | set | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for learnt_from in dict.fromkeys(row["learnt_from"] for row in measured):
        of = [row for row in measured if row["learnt_from"] == learnt_from]
        for name_of_set in [*dict.fromkeys(row["set"] for row in of), None]:
            chosen = [row for row in of if name_of_set in (None, row["set"])]
            cells = [_cell([row for row in chosen if row["detector"] == name]) for name in names]
            lines.append(f"| {learnt_from} | {name_of_set or 'mean'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(found: list[dict]) -> str:
    good = [row for row in found if row["roc_auc"] is not None]
    if not good:
        return "cannot"
    auc, seconds = (np.mean([row[name] for row in good]) for name in ("roc_auc", "fit_seconds"))
    return f"{auc:.3f} ({seconds:.2f} s)" + " of some" * (len(good) < len(found))
