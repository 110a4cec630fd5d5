"""The end of a training whose time is over."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hvd_ae.training.callbacks import Callback

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


class TimeLimit(Callback):
    """Ends the training after so many minutes of this job, between two calls into the graph, on all ranks together.

    What comes after, a last evaluation and the models, takes its time too.

    Args:
        clock: seconds; asked when the callback is made, which is before data are read.
    """

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic):
        self._minutes, self._clock, self._began = minutes, clock, clock()

    def on_steps(self, session: "Session") -> str | None:
        is_over = session.comm.maximum_int(int(self._clock() - self._began >= 60 * self._minutes))
        return f"{self._minutes:g} minutes are over" if is_over else None

    def on_epoch(self, session: "Session", record: dict) -> str | None:
        return self.on_steps(session)
