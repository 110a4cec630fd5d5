"""A sum over ranks that goes on while the ranks compute."""

import threading
import time
from collections.abc import Callable

import numpy as np


class Background:
    """One sum at a time, made by a thread (every rank makes one, and begins the same sums in the same order).

    Args:
        sum_of: the sum over ranks of a float vector, which it must not change; called by the thread.
        bytes_a_byte: what this rank sends for each byte of a vector.
    """

    def __init__(self, sum_of: Callable[[np.ndarray], np.ndarray], bytes_a_byte: float):
        self._sum_of, self._bytes_a_byte = sum_of, bytes_a_byte
        self._thread: threading.Thread | None = None
        self._outcome: list = []  # the sum, or what went wrong
        self.bytes_sent, self.seconds, self.calls = 0, 0.0, 0  # of the time only what this rank has waited
        self.waits = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    def begin(self, vector: np.ndarray) -> None:
        """Begin to sum a copy of this vector."""
        assert not self.is_running, "the sum before has not been ended"
        self._outcome = []
        # a daemon, since a process that fails must not wait here for ranks that may never come
        self._thread = threading.Thread(target=self._run, args=(vector.copy(),), name="background sum", daemon=True)
        self._thread.start()

    def end(self) -> np.ndarray:
        """The sum, once it is there."""
        started, self.waits = time.perf_counter(), True
        self._thread.join()
        self._thread, self.waits = None, False
        [result] = self._outcome
        if isinstance(result, BaseException):
            raise result
        self.seconds += time.perf_counter() - started
        self.calls += 1
        self.bytes_sent += round(self._bytes_a_byte * result.nbytes)
        return result

    def _run(self, vector: np.ndarray) -> None:
        try:
            self._outcome.append(self._sum_of(vector))
        except BaseException as error:  # noqa: BLE001 - raised where the sum is asked for
            self._outcome.append(error)

