"""How far a command is with its samples: one bar for the whole job on a terminal, a line every so often anywhere else."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from hvd_ae.runs.progress import as_time
from hvd_ae.runtime.log import log

_FIRST_LINE, _LAST_GAP = 10.0, 300.0  # seconds


class Passing:
    """Told by the root how many samples of all ranks have been passed.

    Args:
        total: samples of all ranks.
        done: of those, what an earlier start has passed.
        clock: seconds.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic):
        self._total, self._done, self._before, self._clock = total, done, done, clock
        self._started = self._said = clock()
        self._gap = _FIRST_LINE
        self._bar = tqdm(total=total, initial=done, unit=" samples", unit_scale=True, leave=False, dynamic_ncols=True,
                         disable=not sys.stderr.isatty())

    def add(self, samples: int) -> None:
        """So many more are done."""
        self._done += samples
        self._bar.update(samples)
        now = self._clock()
        if not self._bar.disable or now - self._said < self._gap or self._done >= self._total:
            return
        self._said, self._gap = now, min(1.5 * self._gap, _LAST_GAP)
        rate = (self._done - self._before) / (now - self._started)
        log.info(f"{self._done:,} of {self._total:,} samples  {rate:,.0f} samples/s  "
                 f"{as_time((self._total - self._done) / rate)} left")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
