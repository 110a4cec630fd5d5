"""A learning rate that falls where the validation loss no longer does."""

from typing import TYPE_CHECKING

from hvd_ae.training.callbacks import Callback
from hvd_ae.training.improvement import Improvement

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


class Plateau(Callback):
    """Multiplies the rate by `factor` when `val_loss` has not fallen by more than `min_delta` for so many epochs.

    That loss is a mean over the samples of all ranks, so all ranks lower their rates together. An epoch that is cut short
    (`--steps`, `--max-minutes`) is not judged: going on, the run comes to its end.
    """

    name = "plateau"

    def __init__(self, factor: float, epochs: int, min_delta: float = 0.0):
        self._factor, self._epochs, self._loss = factor, epochs, Improvement(min_delta)
        self._lowered = 1.0  # what the rate is multiplied by now

    def on_start(self, session: "Session") -> None:
        session.learner.schedule.factor.assign(self._lowered)

    def on_epoch(self, session: "Session", record: dict) -> None:
        if session.cursor.step_in_epoch or self._loss.see(record["val_loss"]) or self._loss.since < self._epochs:
            return
        self._lowered, self._loss.since = self._lowered * self._factor, 0
        session.learner.schedule.factor.assign(self._lowered)

    def state(self) -> dict:
        return {**self._loss.state(), "lowered": self._lowered}

    def restore(self, state: dict) -> None:
        self._loss.restore(state)
        self._lowered = state["lowered"]
