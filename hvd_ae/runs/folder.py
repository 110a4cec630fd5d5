"""The run folder: what is in it, and how it is written so that a reader never sees half a file."""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hvd_ae.errors import NotWritten, Refused
from hvd_ae.runs.files import append_line, replacing, write_atomically
from hvd_ae.runs.lock import Lock
from hvd_ae.settings.toml import to_toml
from hvd_ae.settings.train import TrainSettings


class RunFolder:
    """Paths in a run folder, and the files that are plain text."""

    def __init__(self, path: str | Path, is_new: bool = False):
        self.path, self.is_new = Path(path), is_new
        self.check_held: Callable[[], None] = lambda: None  # raises NotWritten where another job has the folder by now

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch, where the run keeps it."""
        return self.path / "best"

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

    def read_config(self) -> dict:
        """The settings that the run was trained by, as they were written.

        Raises:
            Refused: there is no such run, or its settings cannot be read.
        """
        try:
            return tomllib.loads(self.config.read_text(encoding="utf-8"))
        except OSError:
            raise Refused(f"{self.path} holds no config.toml: give the folder of a run, such as `hvd-ae train` names at its "
                          "end") from None
        except ValueError as error:  # no TOML, or no text
            raise Refused(f"{self.config} cannot be read ({error}): was it changed?") from None

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def statistics(self) -> Path:
        """Of the training samples, where they are normalized."""
        return self.path / "statistics.npz"

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """While the context lasts, no other job writes into the folder, which is made where there is none.

        Raises:
            Refused: another job writes into it; it holds a run already and `resume` is off; or it cannot be written.
        """
        lock, self.is_new = Lock(self.path), self.is_new or not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise Refused(f"run_dir={str(self.path)!r} cannot be written ({error.strerror}): use another --run-dir") from None
        self.check_held = lock.check
        try:
            if self.config.exists() and not resume:
                raise Refused(f"run_dir={str(self.path)!r} holds a run already: go on with --resume, or use another "
                              "--run-dir")
            yield
        finally:
            lock.release()
            if self.is_new:  # and nothing came into it
                with contextlib.suppress(OSError):
                    self.path.rmdir()

    def begin(self, settings: TrainSettings, step: int, records: Sequence[dict] = (), epochs: int = 0) -> str | None:
        """Write the effective settings, and drop the records of metrics after this step, which are about to be made again.

        Returns what is missing in the records, where anything is.

        Args:
            records: which the checkpoint of this step holds, because they could not be written here.
            epochs: that were over at this step.

        Raises:
            NotWritten: the files are as they were.
        """
        self.check_held()
        try:
            self.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise NotWritten(f"{self.checkpoints} cannot be made ({error.strerror}): use another --run-dir") from None
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        known = {record["step"] for record in kept}
        kept += [record for record in records if record["step"] not in known]
        missing = self._missing(kept, epochs)
        if self.metrics.exists() or kept:
            write_atomically(self.metrics, "".join(as_json(record) + "\n" for record in kept))
        write_atomically(self.config, to_toml(settings))
        return missing

    def _missing(self, records: list[dict], epochs: int) -> str | None:
        """A sentence where epochs have no record."""
        missing = sorted(set(range(1, epochs + 1)) - {record["epoch"] for record in records})
        if not missing:
            return None
        named = ", ".join(map(str, missing[:10])) + ", ..." * (len(missing) > 10)
        kept = self._keep_what_is_no_row()
        return (f"{self.metrics} lacks {len(missing)} of {epochs} epochs ({named}): damaged or removed, the run goes on "
                "without them" + (f"; as it was it is kept as {kept}" if kept else ""))

    def _keep_what_is_no_row(self) -> Path | None:
        """A copy of the records as they are, where some lines cannot be read."""
        if not self.metrics.exists() or len(self.metrics.read_bytes().splitlines()) == len(self.read_metrics()):
            return None
        names = (self.path / f"metrics-damaged{f'-{number}' * (number > 1)}.jsonl" for number in itertools.count(1))
        kept = next(name for name in names if not name.exists())
        with replacing(kept) as partial:
            shutil.copyfile(self.metrics, partial)
        return kept

    def append_metrics(self, record: dict) -> None:
        self.check_held()
        append_line(self.metrics, as_json(record))

    def read_metrics(self) -> list[dict]:
        """The records, one an epoch; a last line that a crash cut short is left out, and so is what is no record."""
        records = []
        for line in self.metrics.read_bytes().splitlines() if self.metrics.exists() else ():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and {type(record.get("epoch")), type(record.get("step"))} == {int}:
                    records.append(record)
        return records

    def read_summary(self) -> dict | None:
        """None where the run has not ended, or what is there is no summary."""
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return summary if isinstance(summary, dict) else None

    def write_summary(self, summary: dict) -> None:
        self.check_held()
        write_atomically(self.summary, as_json(summary, indent=2) + "\n")


def make_default_folder(settings: TrainSettings) -> RunFolder:
    """Make a folder under runs/ whose name says when the run began and what it was; of two in a second, each gets its own.

    Raises:
        Refused: it cannot be made.
    """
    name = default_name(settings)
    for number in itertools.count(1):
        path = f"{name}-{number}" if number > 1 else name
        try:
            os.makedirs(path)
            return RunFolder(path, is_new=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise Refused(f"{path} cannot be made ({error.strerror}): name another folder by --run-dir") from None


def default_name(settings: TrainSettings) -> str:
    data = re.sub(r"[^\w.-]+", "-", Path(settings.data).stem).strip("-_")[:40] or "data"  # of a pattern or a list, too
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
