"""Messages from one rank to another, for strategies whose ranks do not all do the same; a rank that waits sleeps."""

import time
from collections.abc import Callable, Collection
from typing import TypeVar

import numpy as np
from mpi4py import MPI

T = TypeVar("T")

# seconds between looks; the longest costs some per cent of a core, and every one-sided access from afar waits for it
SHORTEST, _LONGEST = 20e-6, 2e-4


def poll_with_backoff(look: Callable[[], T], longest: Callable[[], float] = lambda: _LONGEST) -> T:
    """What `look` returns once that is true, looking ever less often: MPI's own waiting would keep a core busy."""
    pause = SHORTEST
    while not (seen := look()):
        time.sleep(pause)
        pause = min(2 * pause, longest())
    return seen


class PointToPoint:
    """Vectors sent from rank to rank, apart from the collectives on the same ranks (every rank makes one)."""

    def __init__(self, communicator: MPI.Intracomm):
        self._communicator = communicator.Dup()
        self.bytes_sent, self.seconds, self.calls = 0, 0.0, 0
        self.is_waiting = False
        self._last_sender = -1

    def send(self, vector: np.ndarray, to: int, tag: int = 0) -> None:
        """Send a contiguous vector; returns when its memory may be used again."""
        started, self.is_waiting = time.perf_counter(), True
        poll_with_backoff(self._communicator.Isend(vector, to, tag).Test)
        self._count(vector.nbytes, started)

    def receive(self, into: np.ndarray, sources: Collection[int], tag: int = 0) -> int:
        """Receive a vector of the same length and dtype from one of these ranks, in turn; returns who sent it."""
        started, self.is_waiting = time.perf_counter(), True
        arrived = poll_with_backoff(lambda: [source for source in sources if self._communicator.Iprobe(source, tag)])
        sender = min(arrived, key=lambda source: (source - self._last_sender - 1) % self._communicator.size)
        self._last_sender = sender
        poll_with_backoff(self._communicator.Irecv(into, sender, tag).Test)
        self._count(0, started)
        return sender

    def free(self) -> None:
        """Give the communicator back, of which MPI has some two thousand (every rank calls it)."""
        self._communicator.Free()

    def _count(self, bytes_sent: int, started: float) -> None:
        self.is_waiting = False
        self.calls += 1
        self.bytes_sent += bytes_sent
        self.seconds += time.perf_counter() - started
