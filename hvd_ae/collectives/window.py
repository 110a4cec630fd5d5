"""Parameters that lie on one rank and are read and written by the others from afar, through one-sided MPI.

MPI 4.1, chapter 12. The server never has to answer: workers read the parameters and put their gradients into a
mailbox of their own, each under a lock of the window.
"""

import time

import numpy as np
from mpi4py import MPI

from hvd_ae.collectives.point_to_point import poll_with_backoff

SERVER = 0


class ParameterWindow:
    """What rank 0 offers: the parameters with their version, and one mailbox for each worker (every rank makes one).

    A mailbox is empty, or holds one gradient with the version of the parameters it was computed from and its samples. The
    worker fills an empty one; the server empties it when the parameters that came of it can be seen. So every gradient is
    taken exactly once, and what a worker fetches holds its own last one.
    """

    def __init__(self, communicator: MPI.Intracomm, parameters: int):
        self._rank, self._length = communicator.Get_rank(), parameters
        self._parameters = self._mail = self._flags = None  # the server's own memory
        workers = communicator.Get_size() - 1
        is_server, self._last_taken = self._rank == SERVER, -1
        self._vectors, vectors = _allocate(communicator, np.float32, (1 + workers) * parameters if is_server else 0)
        self._states, states = _allocate(communicator, np.int64, 1 + 2 * workers if is_server else 0)
        if is_server:
            self._parameters, self._mail = vectors[:parameters], vectors[parameters:].reshape(workers, parameters)
            self._flags = states  # version, then for each worker: 1 + the version of its gradient or 0, and its samples
        self.bytes_sent, self.seconds, self.calls = 0, 0.0, 0
        self.is_waiting = False
        if is_server:
            self._flags[0] = -1  # nothing to be seen yet
        communicator.Barrier()

    def publish(self, parameters: np.ndarray, version: int, taken_from: int | None = None) -> None:
        """Let workers see these parameters, and empty the mailbox of the worker whose gradient made them (server)."""
        self._vectors.Lock(SERVER, MPI.LOCK_EXCLUSIVE)
        np.copyto(self._parameters, parameters)
        self._states.Lock(SERVER, MPI.LOCK_EXCLUSIVE)
        self._flags[0] = version
        if taken_from is not None:
            self._flags[1 + 2 * taken_from] = 0
        self._states.Unlock(SERVER)
        self._vectors.Unlock(SERVER)

    def take(self) -> tuple[int, np.ndarray, int, int]:
        """What a mailbox holds, as soon as one is full, in turn: (worker, gradient, its version, its samples) (server)."""
        started, self.is_waiting = time.perf_counter(), True
        taken = poll_with_backoff(self._take_full)
        self._count(0, started)
        return taken

    def _take_full(self) -> tuple[int, np.ndarray, int, int] | None:
        self._states.Lock(SERVER, MPI.LOCK_EXCLUSIVE)
        states = self._flags[1:].reshape(-1, 2).copy()
        self._states.Unlock(SERVER)
        full = np.flatnonzero(states[:, 0])
        if not len(full):
            return None
        worker = int(min(full, key=lambda other: (other - self._last_taken - 1) % len(states)))
        self._last_taken = worker
        self._vectors.Lock(SERVER, MPI.LOCK_EXCLUSIVE)
        gradient = self._mail[worker].copy()
        self._vectors.Unlock(SERVER)
        return worker, gradient, int(states[worker, 0]) - 1, int(states[worker, 1])

    def fetch(self) -> tuple[np.ndarray, int]:
        """The parameters as they are now, and their version, as soon as there are any (worker)."""
        started, self.is_waiting = time.perf_counter(), True
        poll_with_backoff(lambda: self._read_state(0) >= 0 and self._read_state(1 + 2 * (self._rank - 1)) == 0)
        parameters, version = np.empty(self._length, np.float32), np.empty(1, np.int64)
        self._vectors.Lock(SERVER, MPI.LOCK_SHARED)
        self._vectors.Get(parameters, SERVER)
        self._states.Lock(SERVER, MPI.LOCK_SHARED)
        self._states.Get(version, SERVER)
        self._states.Unlock(SERVER)
        self._vectors.Unlock(SERVER)
        self._count(0, started)
        return parameters, int(version[0])

    def push(self, gradient: np.ndarray, version: int, samples: int) -> None:
        """Put a gradient into this worker's mailbox, which the last `fetch` found empty (worker)."""
        started, self.is_waiting, worker = time.perf_counter(), True, self._rank - 1
        self._vectors.Lock(SERVER, MPI.LOCK_SHARED)
        self._vectors.Put(gradient, SERVER, (1 + worker) * self._length)
        self._vectors.Unlock(SERVER)  # the gradient is there before the flag says so
        state = np.array([version + 1, samples], np.int64)
        self._states.Lock(SERVER, MPI.LOCK_EXCLUSIVE)
        self._states.Put(state, SERVER, 1 + 2 * worker)
        self._states.Unlock(SERVER)
        self._count(gradient.nbytes, started)

    def free(self) -> None:
        """Give the memory back (every rank calls it, when none uses it any more)."""
        self._parameters = self._mail = self._flags = None
        self._vectors.Free()
        self._states.Free()

    def _read_state(self, position: int) -> int:
        state = np.empty(1, np.int64)
        self._states.Lock(SERVER, MPI.LOCK_SHARED)
        self._states.Get(state, SERVER, position)
        self._states.Unlock(SERVER)
        return int(state[0])

    def _count(self, bytes_sent: int, started: float) -> None:
        self.is_waiting = False
        self.calls += 1
        self.bytes_sent += bytes_sent
        self.seconds += time.perf_counter() - started


def _allocate(communicator: MPI.Intracomm, dtype: type, count: int) -> tuple[MPI.Win, np.ndarray]:
    """A window, displacements counted in elements, and this rank's own memory in it."""
    size = np.dtype(dtype).itemsize
    window = MPI.Win.Allocate(max(1, count) * size, size, comm=communicator)
    memory = np.frombuffer(window.tomemory(), dtype)
    memory[:] = 0
    return window, memory
