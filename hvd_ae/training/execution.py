"""When calls into the graph end, and how long they take."""

import time
from collections.abc import Callable, Iterable, Iterator

_STEPS_PER_CALL = 50  # a Python call costs some 0.3 ms, a step of the deep model 8: more would gain nothing
_BYTES_PER_CALL = 64 << 20  # of samples, two such calls being in memory at a time


def call_ends(steps: int, check_every: int, bytes_per_step: int, at_once: int = 1, since_check: int = 0) -> list[int]:
    """After how many steps each call into the graph returns, the last one after `steps`.

    A call ends where a check is due, at the multiples of `check_every` less the steps `since_check` that are taken
    already. The first call is one step long, since TensorFlow traces it. All but the last hold multiples of `at_once`
    steps.
    """
    longest = max(1, min(_STEPS_PER_CALL, _BYTES_PER_CALL // max(1, bytes_per_step)) // at_once) * at_once
    ends, here = [], 0
    while here < steps:
        due = ((here + since_check) // check_every + 1) * check_every - since_check
        here = min(here + (longest if ends else at_once), due, steps)
        ends.append(here)
    return ends


class Clock:
    """Seconds and samples of training in one epoch, the calls in which graphs are traced counted apart.

    Args:
        warm: whether the graphs are traced already.
        spent: seconds of the epoch's that have passed before its first call.
    """

    def __init__(self, warm: bool, spent: float = 0.0):
        self.seconds = spent
        self.input_seconds = spent  # in which this rank had no samples and waited for them
        self.warm_seconds, self.warm_samples = spent, 0
        self._warm = self._warm_at_end = warm

    def timed(self, super_batches: Iterable) -> Iterator:
        """The super-batches, the time from asking for one to asking for the next being training time of its samples."""
        iterator = iter(super_batches)
        while True:
            started = time.perf_counter()
            super_batch = next(iterator, None)
            self.input_seconds += time.perf_counter() - started
            if super_batch is None:
                return
            yield super_batch
            elapsed = time.perf_counter() - started
            self.seconds += elapsed
            if self._warm:
                self.warm_seconds += elapsed
                self.warm_samples += int(super_batch.global_batch_sizes.sum())
            self._warm = True

    def timed_end(self, synchronize: Callable[[], None]) -> float:
        """What ends the epoch's training, traced in the first epoch; its seconds."""
        started = time.perf_counter()
        synchronize()
        elapsed = time.perf_counter() - started
        self.seconds += elapsed
        self.warm_seconds += elapsed * self._warm_at_end
        return elapsed
