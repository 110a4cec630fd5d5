"""A run folder's files, read for the page: whatever is missing or damaged is left out."""

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from hvd_ae.runs.folder import RunFolder


@dataclass(frozen=True)
class Run:
    """What is known of a run."""

    path: Path
    config: dict
    records: list[dict]
    summary: dict | None  # None until the run has ended
    about: dict = field(default_factory=dict)  # what was known when it began
    samples: dict = field(default_factory=dict)  # arrays, by name: see `samples.py`
    score: dict = field(default_factory=dict)
    probe: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def last(self) -> dict:
        return self.records[-1] if self.records else {}

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch that there is a record of was the last one that was trained."""
        return self.summary is not None and self.summary.get("steps") == self.last.get("step")

    @property
    def last_heard(self) -> datetime:
        """When the last epoch ended."""
        newest = max((path.stat().st_mtime for path in (RunFolder(self.path).metrics, RunFolder(self.path).config)
                      if path.exists()), default=0.0)
        return datetime.fromtimestamp(newest).astimezone()


def read_run(path: Path, records: list[dict] | None = None) -> Run:
    """A run that has begun.

    Args:
        records: those of `metrics.jsonl`, where they are known: of thousands of epochs they take longest to read.

    Raises:
        Refused: there is none.
    """
    folder = RunFolder(path)
    return Run(folder.path, folder.read_config(), folder.read_metrics() if records is None else records,
               folder.read_summary(), _json(folder.path / "about.json"), _arrays(folder.path / "samples.npz"),
               _json(folder.path / "score.json"), _json(folder.path / "probe.json"))


def _json(path: Path) -> dict:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def _arrays(path: Path) -> dict:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        return {}
