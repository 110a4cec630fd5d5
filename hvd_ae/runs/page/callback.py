"""Keeps `report.html` up to date while a run goes on."""

import threading
import time

import numpy as np

from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import NotWritten
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.folder import RunFolder, as_json
from hvd_ae.runs.page.about import about
from hvd_ae.runs.page.page import write_page
from hvd_ae.runs.page.samples import SHOWN, Look, save_look
from hvd_ae.runtime.log import log
from hvd_ae.tasks.task import inputs_and_targets, main, normalization_of, restored
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.session import Session

_SHARE = 0.02  # of the time, at most, that the page takes from the root, by writing and by drawing samples


class Page(Callback):
    """Writes the page after each epoch in a thread of the root; where epochs are short, after as many as take long enough.

    A page that cannot be written is spoken of once, and ends nothing.
    """

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._free_at = 0.0  # when the thread may begin again
        self._look_seconds: float | None = None  # what drawing samples took the last time
        self._look: Look | None = None  # not written yet
        self._warned = False
        self._records: list[dict] = []

    def on_start(self, session: Session) -> None:
        if session.comm.world.is_root:
            self._records = self._folder.read_metrics()
            facts = as_json(about(session), indent=2) + "\n"
            self._safely(lambda: write_atomically(self._folder.path / "about.json", facts))
            self._begin()

    def on_epoch(self, session: Session, record: dict) -> None:
        if not session.comm.world.is_root:
            return
        self._records = [*self._records, record]  # a new list: the thread may be at the old one
        if self._look_seconds is None or self._look_seconds < _SHARE * record["seconds"]:
            started = time.perf_counter()
            self._safely(lambda: self._draw(session))
            self._look_seconds = time.perf_counter() - started
        if time.monotonic() >= self._free_at and not (self._thread and self._thread.is_alive()):
            self._begin()

    def on_stop(self, session: Session) -> None:
        self._finish(session)

    def on_end(self, session: Session, summary: dict) -> None:
        self._look = None  # what the finished model makes of more samples is written
        self._finish(session)

    def _draw(self, session: Session) -> None:
        self._look = look_meanwhile(session)

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._write, args=(True,), name="page", daemon=True)
        self._thread.start()

    def _finish(self, session: Session) -> None:
        if session.comm.world.is_root:
            if self._thread is not None:
                self._thread.join()
            self._write(is_live=False)

    def _write(self, is_live: bool) -> None:
        started, seen = time.monotonic(), self._look
        if seen is not None:
            self._look = None
            self._safely(lambda: save_look(seen, self._folder.path / "samples.npz"))
        self._safely(lambda: write_page(self._folder.path, is_live=is_live, records=self._records))
        now = time.monotonic()
        self._free_at = now + (now - started) / _SHARE

    def _safely(self, write) -> None:
        try:
            self._folder.check_held()
            write()
        except NotWritten as failure:
            self._warn(str(failure))
        except Exception as error:  # a page is not worth a training
            self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(f"report.html is not up to date ({why}): the training goes on, and `hvd-ae report "
                        f"{self._folder.path}` writes it anew")


def look_meanwhile(session: Session) -> Look | None:
    """What the synchronized model makes of the first validation samples (the root alone); None where it gives others back."""
    task, source, strategy = session.task, session.source.validation, session.strategy
    if not task.reconstructs or not source.count:
        return None
    first = np.arange(min(SHOWN, source.count))
    inputs, _ = inputs_and_targets(task, source.read(first, task.fields), source.fields)
    outputs = session.learner.flat.outputs(*strategy.result, strategy.result_counters, inputs)
    outputs = restored(main(outputs), normalization_of(task.output_field, source.fields))
    return Look(session.raw_source.validation.seen(first, SAMPLES), np.asarray(outputs, np.float32), None, None)
