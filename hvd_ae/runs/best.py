"""The best model so far: a checkpoint of its own, outside the rotation, and the model that is saved at the end."""

import contextlib
import shutil
import sys

from hvd_ae.errors import NotWritten
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.files import BadFile, read_json
from hvd_ae.training.checkpointing.names import checkpoints, step_of
from hvd_ae.training.checkpointing.restore import restore_vectors
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.improvement import Improvement
from hvd_ae.training.session import Session


class Best(Callback):
    """Saves `best/step-N` whenever `val_loss` is lower than after any epoch before; an epoch cut short is not judged.

    It comes before the checkpoints of the rotation, which say which is the best. So what those name is there, whenever the
    job is killed: a best one is deleted when no checkpoint names it any more.
    """

    name = "best"

    def __init__(self, folder: RunFolder):
        self._folder, self._loss = folder, Improvement()
        self.epoch: int | None = None
        self._step: int | None = None
        self._step_before: int | None = None  # of the best before, which a checkpoint may name that is still being written

    def on_epoch(self, session: Session, record: dict) -> None:
        if session.cursor.step_in_epoch or not self._loss.see(record["val_loss"]):
            return
        self.epoch, self._step, self._step_before = record["epoch"], session.cursor.step, self._step
        is_root, again = session.comm.world.is_root, self._path
        if is_root:  # of a run that was killed before its next checkpoint, and has made this epoch again
            shutil.rmtree(again, ignore_errors=True)
        run_on_all(session.comm, lambda: is_root and self._make_folder(), NotWritten)
        save(session, self._folder.best, keep=sys.maxsize, check=self._folder.check_held)
        if is_root:
            self._delete_unnamed()

    def restore_into(self, session: Session) -> None:
        """Bring the parameters back to the best, on every rank; nothing where no epoch was judged.

        Raises:
            Refused: on every rank, where the best is not as it was written.
        """
        if self._step is not None:
            restore_vectors(session, self._path)

    @property
    def _path(self):
        return self._folder.best / f"step-{self._step:08d}"

    def _make_folder(self) -> None:
        try:
            self._folder.best.mkdir(exist_ok=True)
        except OSError as error:
            raise NotWritten(f"{self._folder.best} cannot be made ({error.strerror}): make room, and go on with "
                             "--resume") from None

    def _delete_unnamed(self) -> None:
        named = {self._step, self._step_before}
        for path in checkpoints(self._folder.checkpoints):
            with contextlib.suppress(BadFile, KeyError):
                named.add(read_json(path / "manifest.json")["callbacks"][self.name]["step"])
        for path in checkpoints(self._folder.best):
            if step_of(path) not in named:
                shutil.rmtree(path, ignore_errors=True)

    def state(self) -> dict:
        return {**self._loss.state(), "epoch": self.epoch, "step": self._step, "step_before": self._step_before}

    def restore(self, state: dict) -> None:
        self._loss.restore(state)
        self.epoch, self._step, self._step_before = state["epoch"], state["step"], state["step_before"]
