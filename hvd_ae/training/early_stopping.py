"""The end of a training whose validation loss no longer falls."""

from typing import TYPE_CHECKING

from hvd_ae.training.callbacks import Callback
from hvd_ae.training.improvement import Improvement

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


class EarlyStopping(Callback):
    """Ends the training when `val_loss` has not fallen by more than `min_delta` for `patience` epochs.

    That loss is a mean over the samples of all ranks, the same bits on each, so all end after the same epoch; and what is
    counted goes with each checkpoint, so a run that is killed and goes on ends there too. An epoch that is cut short is not
    judged.
    """

    name = "early_stopping"

    def __init__(self, patience: int, min_delta: float = 0.0):
        self._patience, self._loss = patience, Improvement(min_delta)

    def on_start(self, session: "Session") -> str | None:
        return self._reason()  # the checkpoint may be that of the end

    def on_epoch(self, session: "Session", record: dict) -> str | None:
        if session.cursor.step_in_epoch:
            return None
        self._loss.see(record["val_loss"])
        return self._reason()

    def _reason(self) -> str | None:
        if self._loss.since < self._patience:
            return None
        lowest = "never was a number" if self._loss.best is None else f"was lowest at {self._loss.best:.6g}"
        return f"val_loss has not fallen for {self._loss.since} epochs: it {lowest}"

    def state(self) -> dict:
        return self._loss.state()

    def restore(self, state: dict) -> None:
        self._loss.restore(state)
