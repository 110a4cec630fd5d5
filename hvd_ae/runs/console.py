"""What a person sees while a run goes on: a bar for the whole job on a terminal, lines every so often anywhere else."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from hvd_ae.runs.progress import Pace, Progress, as_time
from hvd_ae.runtime.log import log
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.session import Session

_FIRST_LINE, _LAST_GAP = 10.0, 300.0  # seconds


class Console(Callback):
    """One bar for the whole job where standard error is a terminal; each epoch's figures as a line (root).

    Where there is no bar, a long epoch is told of in between, first after ten seconds and then ever more seldom, so that
    the file of a batch job stays short.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._pace = clock, Pace()
        self._bar: tqdm | None = None
        self._said: float | None = None  # when the last line was
        self._gap = _FIRST_LINE

    def on_steps(self, session: Session) -> None:
        if not session.comm.world.is_root or session.settings.quiet:
            return
        progress = self._pace.at(session, self._clock())
        if sys.stderr.isatty():
            self._show(session, progress)
        elif self._is_due():
            log.info(progress_line(session, progress))

    def on_epoch(self, session: Session, record: dict) -> None:
        if not session.comm.world.is_root:
            return
        self._said = self._clock()
        if self._bar is not None:
            self._bar.clear()  # the line would begin behind it
        log.info(epoch_line(record, session.settings.epochs))
        if self._bar is not None:
            sys.stdout.flush()
            self._bar.refresh()

    def on_stop(self, session: Session) -> None:
        self._close()

    def on_end(self, session: Session, summary: dict) -> None:
        self._close()

    def _is_due(self) -> bool:
        now = self._clock()
        if self._said is None:
            self._said = now
        if now - self._said < self._gap:
            return False
        self._said, self._gap = now, min(1.5 * self._gap, _LAST_GAP)
        return True

    def _show(self, session: Session, progress: Progress) -> None:
        cursor = session.cursor
        if self._bar is None:
            self._bar = tqdm(total=progress.total, initial=progress.done, unit=" samples", unit_scale=True, leave=False,
                             dynamic_ncols=True)
        self._bar.set_description(f"epoch {min(cursor.epoch + 1, session.settings.epochs)}/{session.settings.epochs}",
                                  refresh=False)
        self._bar.set_postfix_str(running_loss(session), refresh=False)
        self._bar.update(progress.done - self._bar.n)
        if session.done or progress.done >= progress.total:
            self._close()  # before models and pictures are written

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def running_loss(session: Session) -> str:
    """The loss of this epoch so far: of several ranks this one's own, since to ask the others would cost them time."""
    cursor, trainers = session.cursor, session.trainers.size
    if not cursor.loss_sum or not cursor.epoch_samples:
        return ""
    whose = "" if trainers == 1 else f" (rank {session.comm.world.rank})"
    return f"loss {cursor.loss_sum * trainers / cursor.epoch_samples:.4g}{whose}"


def progress_line(session: Session, progress: Progress) -> str:
    """Where in an epoch a run is, for a file."""
    cursor = session.cursor
    rate, left = progress.samples_per_second, progress.seconds_left
    figures = [f"epoch {cursor.epoch + 1}/{session.settings.epochs}", f"step {cursor.step_in_epoch}/{session.steps_per_epoch}",
               f"{progress.done / progress.total:.1%} of the job", running_loss(session)]
    if rate:
        figures += [f"{rate:,.0f} samples/s", f"{as_time(left)} left"]
    return "  ".join(filter(None, figures))


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
