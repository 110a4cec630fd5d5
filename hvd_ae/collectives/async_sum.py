"""Sums over ranks that go on while the ranks compute."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np


class AsyncSum:
    """Sums that a thread makes, one after the other (every rank begins the same ones, in the same order).

    Args:
        sum_of: the sum over ranks of a float vector, which it must not change; called by the thread.
        bytes_a_byte: what this rank sends for each byte of a vector.
        give_back: called by `free`, when no sum is under way.
    """

    def __init__(self, sum_of: Callable[[np.ndarray], np.ndarray], bytes_a_byte: float,
                 give_back: Callable[[], None] = lambda: None):
        self._sum_of, self._bytes_a_byte, self._give_back = sum_of, bytes_a_byte, give_back
        self._thread: threading.Thread | None = None
        self._vectors: SimpleQueue[np.ndarray | None] = SimpleQueue()
        self._sums: SimpleQueue[np.ndarray | BaseException] = SimpleQueue()
        self.under_way = 0  # sums begun and not ended
        self.bytes_sent, self.seconds, self.calls = 0, 0.0, 0  # of the time only what this rank has waited
        self.is_waiting = False

    def begin(self, vector: np.ndarray) -> np.bool_:
        """Begin a sum; the vector must stay as it is until the end. Returns True, since TensorFlow wants a value."""
        if self._thread is None:
            # a daemon, since a process that fails must not wait here for ranks that may never come
            self._thread = threading.Thread(target=self._run, name="background sums", daemon=True)
            self._thread.start()
        self.under_way += 1
        self._vectors.put(vector)
        return np.True_

    def end(self) -> np.ndarray:
        """The sum that was begun first, once it is there."""
        started, self.is_waiting = time.perf_counter(), True
        result = self._sums.get()
        self.is_waiting = False
        self.under_way -= 1
        if isinstance(result, BaseException):
            raise result
        self.seconds += time.perf_counter() - started
        self.calls += 1
        self.bytes_sent += round(self._bytes_a_byte * result.nbytes)
        return result

    def free(self) -> None:
        """Wait for what is under way, and give back what is needed for more (every rank calls it).

        MPI must not be left while the thread is in the middle of a sum, such as one that a run begins as it goes on.
        """
        while self.under_way:
            self.end()
        if self._thread is not None:
            self._vectors.put(None)
            self._thread.join()
        self._give_back()

    def _run(self) -> None:
        while (vector := self._vectors.get()) is not None:
            try:
                self._sums.put(self._sum_of(vector))
            except BaseException as error:  # raised where the sum is asked for
                self._sums.put(error)
