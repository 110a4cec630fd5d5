"""The detector with its defaults beside PyOD's AutoEncoder, IForest and PCA with theirs: ROC AUC, precision, seconds."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import jobs, rows
from benchmarks.anomaly_data import TABULAR, Case, cases, names
from benchmarks.anomaly_table import table
from hvd_ae.errors import Refused
from hvd_ae.settings.fields import setting

OURS = "hvd_ae"


@dataclass(frozen=True)
class Anomaly:
    """Which sets, and how often."""

    sets: str | None = setting(None, "Their names, with commas between them [all].")
    folder: Path = setting(TABULAR, "Folder of .npz files of samples X and truth y [ten of ADBench's].")
    detectors: str = setting("hvd_ae,AutoEncoder,IForest,PCA", "Which, with commas between them; hvd_ae@2: on two ranks.")
    seeds: int = setting(5, "Trainings of each, from seeds 0, 1, ...", at_least=1)
    threads: int | None = setting(None, "Of each detector [its own choice].", at_least=1)
    go_on: bool = setting(False, "Measure what the newest run with the same settings lacks, as a part of that.")
    short: bool = setting(False, "One seed.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Anomaly) -> int:
    """A row for each seed, set, setting and detector as soon as it is measured; at the end tables of them."""
    known = names(settings.folder)
    chosen = settings.sets.split(",") if settings.sets else known
    if unknown := sorted(set(chosen) - set(known)):
        raise Refused(f"sets={settings.sets!r}: {', '.join(unknown)} is not known: use any of {', '.join(known)}")
    makers = {name: maker(name, settings.threads) for name in settings.detectors.split(",")}
    about = {name: value for name, value in asdict(settings).items() if name not in ("sets", "folder", "detectors", "go_on")}
    measured = _measured(settings, about) if settings.go_on else []
    run = measured[0]["run"] if measured else rows.provenance()["run"]
    done = {(row["set"], row["learnt_from"], row["detector"], row["seed"]) for row in measured}
    for make in makers.values():  # what is done once in a process belongs to no set
        if make is not None:
            make(0).fit(np.random.default_rng(0).normal(size=(300, 4)))
    for seed in range(1 if settings.short else settings.seeds):
        for name in chosen:
            for case in cases(name, seed, settings.folder):
                for detector, make in makers.items():
                    if (name, case.learnt_from, detector, seed) in done:
                        continue
                    found = (measure(make(seed), case) if make is not None
                             else _on_ranks(detector, name, case.learnt_from, seed, settings))
                    row = {"set": name, "learnt_from": case.learnt_from, "detector": detector, "seed": seed, **found}
                    rows.append("anomaly", [row], about, settings.results, run)
                    measured.append(row)
                    print(json.dumps(row), flush=True)
    print(table([row for row in measured if row["set"] in chosen]))
    return 0


def _measured(settings: Anomaly, about: dict) -> list[dict]:
    same = {name: value for name, value in about.items() if not isinstance(value, Path)}
    return rows.latest([row for row in rows.read("anomaly", settings.results) if row["settings"] == same])


def maker(name: str, threads: int | None) -> Callable[[int], object] | None:
    """From a seed to a detector with its own defaults; None for what a job of ranks does."""
    if name.startswith(f"{OURS}@"):
        return None
    if name == OURS:
        from hvd_ae import Detector

        return lambda seed: Detector(random_state=seed, **({} if threads is None else {"threads": threads}))
    try:
        import torch
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.iforest import IForest
        from pyod.models.pca import PCA
    except ImportError as error:
        raise Refused(f"{name} is PyOD's, which cannot be imported ({error}): pip install '.[peers]', or name others by "
                      "--detectors") from None
    if threads is not None:
        torch.set_num_threads(threads)
    kinds = {"AutoEncoder": lambda seed: AutoEncoder(random_state=seed, verbose=0),
             "IForest": lambda seed: IForest(random_state=seed), "PCA": lambda seed: PCA(random_state=seed)}
    if name not in kinds:
        raise Refused(f"detectors={name!r} is not known: use {OURS}, {OURS}@2, {', '.join(kinds)}")
    return kinds[name]


def measure(detector, case: Case) -> dict:
    """None where a detector cannot do it."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    started, busy = time.perf_counter(), time.process_time()
    try:
        detector.fit(case.learnt)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        scores = detector.decision_function(case.judged)
        return {"roc_auc": float(roc_auc_score(case.is_odd, scores)),
                "average_precision": float(average_precision_score(case.is_odd, scores)), "fit_seconds": seconds,
                "fit_cpu_seconds": busy, "reason": None}
    except ValueError as error:  # PyOD's PCA, of features that never vary
        return {"roc_auc": None, "average_precision": None, "fit_seconds": None, "fit_cpu_seconds": None,
                "reason": str(error)[:200]}


def _on_ranks(detector: str, name: str, learnt_from: str, seed: int, settings: Anomaly) -> dict:
    command = jobs.module("benchmarks.anomaly_ranks", name, learnt_from, seed, os.path.abspath(settings.folder),
                          settings.threads or 0)
    return jobs.run(jobs.mpirun(int(detector.partition("@")[2]), *command)).rows[0]
