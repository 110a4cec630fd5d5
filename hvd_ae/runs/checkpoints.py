"""When checkpoints are written: every so many epochs or minutes, at the end, and when a signal stops the run."""

import time
from collections.abc import Sequence
from pathlib import Path

from hvd_ae.runs.folder import RunFolder
from hvd_ae.runtime.log import log
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.background import Background, has_room
from hvd_ae.training.checkpointing.save import Writing, taken
from hvd_ae.training.session import Session


class Checkpoints(Callback):
    """Writes checkpoints into the run folder; the last of the callbacks, since it keeps the state of the others.

    One at a time: the next is begun when the one before is in its place.
    """

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._saved: int | None = None  # the step of the last
        self._last = time.monotonic()  # when it was taken
        self._writing: Background | None = None
        self._has_said = False  # that there is no room for a copy

    def on_start(self, session: Session) -> None:
        self._saved, self._last = session.cursor.step if session.settings.resume else None, time.monotonic()

    def on_steps(self, session: Session) -> None:
        if self._writing is not None and self._writing.finished(wait=False):
            self._writing = None
        if session.settings.checkpoint_minutes is None:
            return
        is_due = session.comm.world.is_root and time.monotonic() - self._last > 60 * session.settings.checkpoint_minutes
        if session.comm.maximum_int(is_due):
            self.save(session, in_background=session.settings.checkpoint_in_background)

    def on_epoch(self, session: Session, record: dict) -> None:
        every = session.settings.checkpoint_every
        if session.done or (every and session.cursor.epoch % every == 0):
            self.save(session, in_background=session.settings.checkpoint_in_background and not session.done)

    def on_stop(self, session: Session) -> None:
        if self._saved != session.cursor.step:
            self.save(session)
        self._finish()

    def save(self, session: Session, records: Sequence[dict] = (), in_background: bool = False) -> Path:
        """Write one now, with records of metrics that could not be written where they belong; returns its path."""
        self._finish()
        what = taken(session, records)
        writing = Writing(session, what, self._folder.checkpoints, session.settings.keep_checkpoints, self._folder.check_held)
        if in_background and self._has_room(session, what):
            self._writing = Background(writing, session.comm)
        else:
            writing.write()
            writing.put_in_place()
        self._saved, self._last = session.cursor.step, time.monotonic()
        return writing.path

    def _finish(self) -> None:
        if self._writing is not None:
            self._writing.finished(wait=True)
            self._writing = None

    def _has_room(self, session: Session, what: object) -> bool:
        if has_room(what, session.comm):
            return True
        if not self._has_said:
            self._has_said = True
            log.warning("checkpoint_in_background=True has no effect here: there is no memory for a copy of what is written")
        return False
