"""When checkpoints are written: every so many epochs, at the end, and when a signal stops the run."""

from collections.abc import Sequence
from pathlib import Path

from hvd_ae.runs.folder import RunFolder
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.session import Session


class Checkpoints(Callback):
    """Writes checkpoints into the run folder; the last of the callbacks, since it keeps the state of the others."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._saved: int | None = None  # the step of the last

    def on_start(self, session: Session) -> None:
        self._saved = session.cursor.step if session.settings.resume else None

    def on_epoch(self, session: Session, record: dict) -> None:
        every = session.settings.checkpoint_every
        if session.done or (every and session.cursor.epoch % every == 0):
            self.save(session)

    def on_stop(self, session: Session) -> None:
        if self._saved != session.cursor.step:
            self.save(session)

    def save(self, session: Session, records: Sequence[dict] = ()) -> Path:
        """Write one now, with records of metrics that could not be written where they belong; returns its path."""
        path = save(session, self._folder.checkpoints, session.settings.keep_checkpoints, records, self._folder.check_held)
        self._saved = session.cursor.step
        return path
