"""Tools that record trainings, told what happens by the root alone; a file each."""

import importlib
from collections.abc import Sequence

from hvd_ae.errors import Refused
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.tracking.tracker import Tracker

TRACKERS = {
    "tensorboard": "hvd_ae.runs.tracking.tensorboard:TensorBoard",
    "mlflow": "hvd_ae.runs.tracking.mlflow:Mlflow",
    "csv": "hvd_ae.runs.tracking.csv_file:CsvFile",
}


def make_trackers(names: str | None, folder: RunFolder) -> list[Tracker]:
    """Those of a text such as "tensorboard,csv", each once.

    Raises:
        Refused: one is not known, or lacks the library that it needs.
    """
    return [make_tracker(name, folder, "track") for name in dict.fromkeys(_names(names))]


def make_tracker(name: str, folder: RunFolder, setting: str) -> Tracker:
    """One by its name, which the user gave as this setting."""
    if name not in TRACKERS:
        raise Refused(f"{setting}={name!r} is not known: use one of {', '.join(TRACKERS)}")
    module, _, kind = TRACKERS[name].partition(":")
    tracker = getattr(importlib.import_module(module), kind)(folder)
    tracker.check()
    return tracker


def _names(text: str | None) -> Sequence[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]
