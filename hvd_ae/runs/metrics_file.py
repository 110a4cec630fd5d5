"""`metrics.jsonl`: a record of each epoch."""

from hvd_ae.errors import NotWritten
from hvd_ae.runs.checkpoints import Checkpoints
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.session import Session


class MetricsFile(Callback):
    """Appends each epoch's record; where it cannot be written the run ends, and a checkpoint holds the record instead."""

    def __init__(self, folder: RunFolder, checkpoints: Checkpoints):
        self._folder, self._checkpoints = folder, checkpoints

    def on_epoch(self, session: Session, record: dict) -> None:
        """Write the record.

        Raises:
            NotWritten: on every rank.
        """
        is_root = session.comm.world.is_root
        try:
            run_on_all(session.comm, lambda: is_root and self._folder.append_metrics(record), NotWritten)
        except NotWritten as failure:
            checkpoint = self._checkpoints.save(session, records=[record])
            raise NotWritten(f"{failure}; nothing that was trained is lost: go on from {checkpoint} with --resume") from None
