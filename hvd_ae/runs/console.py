"""What a person sees while a run goes on: a bar on a terminal, a line an epoch anywhere else."""

import sys

from tqdm import tqdm

from hvd_ae.runtime.log import log
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.session import Session


class Console(Callback):
    """Shows an epoch's steps as a bar where standard error is a terminal, and each epoch's figures as a line (root)."""

    def __init__(self):
        self._bar: tqdm | None = None

    def on_steps(self, session: Session) -> None:
        if not session.comm.world.is_root:
            return
        cursor = session.cursor
        if self._bar is None:
            self._bar = tqdm(total=session.steps_per_epoch, desc=f"epoch {cursor.epoch + 1}/{session.settings.epochs}",
                             unit="step", leave=False, disable=not sys.stderr.isatty())
        self._bar.update(cursor.step_in_epoch - self._bar.n)

    def on_epoch(self, session: Session, record: dict) -> None:
        self._close()
        if session.comm.world.is_root:
            log.info(epoch_line(record, session.settings.epochs))

    def on_stop(self, session: Session) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def epoch_line(record: dict, epochs: int) -> str:
    """An epoch's figures, of which some may not have been measured."""
    figures = [f"{name} {record[name]:.5f}" for name in ("train_loss", "val_mse") if record[name] is not None]
    rate = record["samples_per_second"]
    figures.append(f"{rate:,.0f} samples/s" if rate else "speed not measured")
    if record["drift"] is not None:
        figures.append(f"drift {record['drift']:.3g}")
    if record["in_sync"]:
        figures.append("in sync")
    return "  ".join([f"epoch {record['epoch']}/{epochs}", *figures])
