"""The run folder: what is in it, and how it is written so that a reader never sees half a file."""

import json
import math
import time
from pathlib import Path

from hvd_ae.config import TrainSettings, to_toml
from hvd_ae.errors import Refused
from hvd_ae.runs.files import append_line, write_atomically


class RunFolder:
    """Paths in a run folder, and the files that are plain text."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def stalled(self) -> Path:
        """Where ranks write what they were doing when one was waited for too long."""
        return self.path / "stalled"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def create(self, settings: TrainSettings) -> None:
        """Make the folder and write the effective settings into it.

        Raises:
            Refused: it holds a run already and `resume` is off, or it cannot be written.
        """
        if self.config.exists() and not settings.resume:
            raise Refused(f"run_dir={str(self.path)!r} holds a run already: go on with --resume, or use another --run-dir")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_atomically(self.config, to_toml(settings))
        except OSError as error:
            raise Refused(f"run_dir={str(self.path)!r} cannot be written ({error.strerror}): use another --run-dir") from None

    def keep_metrics_until(self, step: int) -> None:
        """Drop the rows of later steps, which a resumed run is about to do again."""
        if self.metrics.exists():
            rows = [row for row in self.read_metrics() if row["step"] <= step]
            write_atomically(self.metrics, "".join(as_json(row) + "\n" for row in rows))

    def append_metrics(self, row: dict) -> None:
        append_line(self.metrics, as_json(row))

    def read_metrics(self) -> list[dict]:
        """The rows, one an epoch; a last line that a crash cut short is left out."""
        rows = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def write_summary(self, summary: dict) -> None:
        write_atomically(self.summary, as_json(summary, indent=2) + "\n")


def default_run_dir(settings: TrainSettings) -> str:
    """A name under runs/ that is new each second and says what the run was."""
    data = Path(settings.data).stem.replace(":", "-")
    model = settings.model.replace(":", ".")
    return f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{data}-{model}-{settings.averaging}"


def as_json(table: dict, indent: int | None = None) -> str:
    """JSON as any reader takes it: what is not finite, such as the loss of a run that diverged, becomes null."""
    return json.dumps(_finite(table), indent=indent, allow_nan=False)


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
