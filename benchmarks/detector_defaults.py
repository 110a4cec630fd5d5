"""How the detector's defaults were chosen: by odd samples that are made here, and by no label of any data set.

Normal samples lie near a curved surface. Odd ones are of the four kinds of Han et al. 2022 (ADBench,
https://arxiv.org/abs/2206.09426): local, of the same mean and five times the variance; global, uniform over a tenth more than
the range; dependency, each feature by itself as usual but independent of the others; clustered, around another mean.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import rows
from hvd_ae.settings.fields import setting

_KINDS = ("local", "global", "dependency", "clustered")
_NORMAL, _ODD = 2000, 100
_CHOICES = {f"{task}, {score}": {"task": task, "scoring": score, **({"noise": "gaussian:0.3"} if task == "denoising" else {})}
            for task in ("reconstruction", "denoising") for score in ("mse", "mahalanobis")}


@dataclass(frozen=True)
class Defaults:
    """How often."""

    seeds: int = setting(2, "Data sets of each kind, from seeds 0, 1, ...", at_least=1)
    short: bool = setting(False, "One seed.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Defaults) -> int:
    """A row for each kind, choice and seed; the choice with the highest mean is the default."""
    from sklearn.metrics import roc_auc_score

    from hvd_ae import Detector

    measured = []
    for seed in range(1 if settings.short else settings.seeds):
        for kind, samples, is_odd in data_sets(seed):
            for name, choice in _CHOICES.items():
                detector = Detector(random_state=seed, **choice).fit(samples)
                row = {"kind": kind, "choice": name, "seed": seed, "roc_auc": roc_auc_score(is_odd, detector.decision_scores_)}
                measured.append(row)
                print(json.dumps(row), flush=True)
    rows.append("detector_defaults", measured, asdict(settings), settings.results)
    for name in _CHOICES:
        of_kinds = [np.mean([row["roc_auc"] for row in measured if (row["choice"], row["kind"]) == (name, kind)])
                    for kind in _KINDS]
        print(name, *(f"{kind} {auc:.3f}" for kind, auc in zip(_KINDS, of_kinds)), f"mean {np.mean(of_kinds):.3f}")
    return 0


def data_sets(seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each kind of odd samples: its name, the samples, and which are odd."""
    random = np.random.default_rng(seed)
    features, dimensions = int(random.integers(8, 33)), int(random.integers(2, 5))
    inner, outer = random.normal(size=(dimensions, features)), random.normal(size=(features, features)) / np.sqrt(features)

    def normal(count: int, spread: float = 1.0) -> np.ndarray:
        curved = np.tanh(spread * random.normal(size=(count, dimensions)) @ inner)
        return curved @ outer + 0.1 * spread * random.normal(size=(count, features))

    usual = normal(_NORMAL)
    low, high = usual.min(axis=0), usual.max(axis=0)
    apart = normal(_ODD)
    odd = {"local": usual.mean(axis=0) + np.sqrt(5.0) * (apart - usual.mean(axis=0)),
           "global": random.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low), size=(_ODD, features)),
           "dependency": np.stack([random.permutation(usual[:, each])[:_ODD] for each in range(features)], axis=1),
           "clustered": usual.mean(axis=0) + 5.0 * usual.std(axis=0) * random.choice([-1, 1], features)
           * (random.random(features) < 0.3) + 0.3 * usual.std(axis=0) * random.normal(size=(_ODD, features))}
    for kind in _KINDS:
        yield kind, np.concatenate([usual, odd[kind]]), np.arange(_NORMAL + _ODD) >= _NORMAL
