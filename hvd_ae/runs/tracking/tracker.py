"""What all trackers share: a queue and a thread of the root, so that no tool can stop or slow a training."""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from hvd_ae.errors import Refused
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runtime.log import log
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.session import Session


class Tracker(Callback, ABC):
    """Tells a tool of a training. A new one is a subclass that says how; given to `hvd_ae.train` it is a callback as any.

    `begin`, `add` and `finish` are called one after the other in a thread of the root, and may fail or take for ever: then
    a warning says so once, and the training goes on without.

    tool: its name, for messages.
    silence: seconds after which a tool that does not come back is spoken of.
    patience: seconds that the end of the run waits for what the tool has not been told yet.
    """

    tool: str
    silence = 60.0
    patience = 10.0

    def __init__(self, folder: RunFolder):
        self.folder = folder
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since: float | None = None  # when the tool was called that has not come back
        self._warned = False

    def check(self) -> None:
        """Refuse what can be known before anything is tracked, such as a library that is not installed."""

    @abstractmethod
    def begin(self, settings: dict, records: Sequence[dict]) -> None:
        """A run begins, or goes on, which it does in the tracked run that was its own before.

        Args:
            settings: by name.
            records: of `metrics.jsonl` so far; whatever the tool was told of later steps is to be trained anew.
        """

    @abstractmethod
    def add(self, record: dict) -> None:
        """An epoch has ended; its record in `metrics.jsonl`."""

    @abstractmethod
    def finish(self, summary: dict | None) -> None:
        """The run is over, or stopped by a signal, where there is no summary; nothing comes after it."""

    def on_start(self, session: Session) -> None:
        if session.comm.world.is_root:
            settings, records = vars(session.settings).copy(), self.folder.read_metrics()
            self._queue.put(lambda: self.begin(settings, records))
            self._thread = threading.Thread(target=self._work, name=f"tracking by {self.tool}", daemon=True)
            self._thread.start()

    def on_epoch(self, session: Session, record: dict) -> None:
        if self._thread is not None:
            self._queue.put(lambda: self.add(record))
            since = self._since
            if since is not None and time.monotonic() - since > self.silence:
                self._warn(f"has not answered for {self.silence:g} s")

    def on_stop(self, session: Session) -> None:
        self._end(None)

    def on_end(self, session: Session, summary: dict) -> None:
        self._end(summary)

    def _end(self, summary: dict | None) -> None:
        if self._thread is not None:
            self._queue.put(lambda: self.finish(summary))
            self._queue.put(None)
            self._thread.join(self.patience)
            if self._thread.is_alive():
                self._warn(f"has not taken everything in the {self.patience:g} s after the end")

    def _work(self) -> None:
        try:
            while (call := self._queue.get()) is not None:
                self._since = time.monotonic()
                call()
                self._since = None
        except Exception as error:  # of any library, which must not end a training
            self._warn(f"has failed ({' '.join(str(error).split()) or type(error).__name__})")
            self._since = None

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(f"track={self.tool!r}: the tracker {what}; the training goes on without it, and `hvd-ae track "
                        f"{self.folder.path} --to {self.tool}` sends everything later")


def numbers_of(record: dict) -> dict[str, float]:
    """What of an epoch's record can be drawn over steps; True is 1."""
    return {name: float(value) for name, value in record.items() if isinstance(value, (int, float))}


def missing_library(tool: str, package: str, extra: str) -> Refused:
    return Refused(f"track={tool!r} needs {package}, which is not installed: pip install 'hvd_ae[{extra}]', or leave it out")
