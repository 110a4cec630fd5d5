"""The two halves of a ring all-reduce: for vectors so long that bytes count, and not how many messages there are.

Patarasuk and Yuan 2009 (https://doi.org/10.1016/j.jpdc.2008.09.002). Each rank talks to its two neighbours only, so where
many ranks share a node, each part crosses from node to node once. Nothing is copied besides what is sent.
"""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from hvd_ae.collectives.point_to_point import SHORTEST, poll_with_backoff

_LONGEST = 5e-4  # seconds between looks while nobody waits for them


class BackoffComm:
    """As much of a communicator as a ring needs; it sleeps while it waits, and leaves the core to who computes.

    Args:
        is_awaited: whether this rank has nothing else to do now.
    """

    def __init__(self, communicator: MPI.Intracomm, is_awaited: Callable[[], bool]):
        self._communicator, self._is_awaited = communicator.Dup(), is_awaited
        self.rank, self.size = communicator.rank, communicator.size

    def free(self) -> None:
        self._communicator.Free()

    def Sendrecv(self, sent: np.ndarray, to: int, send_tag: int, received: np.ndarray, source: int, tag: int) -> None:
        requests = [self._communicator.Irecv(received, source, tag), self._communicator.Isend(sent, to, send_tag)]
        poll_with_backoff(lambda: MPI.Request.Testall(requests), lambda: SHORTEST if self._is_awaited() else _LONGEST)


def reduce_scatter(communicator: MPI.Intracomm | BackoffComm, vector: np.ndarray, parts: list[slice],
                   mine: np.ndarray) -> None:
    """Put this rank's part of the sum over ranks into `mine`: part p is added up from rank p+1 on, and by rank p last."""
    rank, size = communicator.rank, communicator.size
    if size == 1:
        np.copyto(mine, vector)
    room = [np.empty_like(vector[parts[0]]) for _ in range(min(2, size - 2))]  # the first part is the longest
    partial = vector[parts[rank - 1]]
    for step in range(2, size + 1):
        part = vector[parts[rank - step]]
        received = mine if step == size else room[step % 2][: part.size]
        communicator.Sendrecv(partial, (rank + 1) % size, 0, received, (rank - 1) % size, 0)
        received += part
        partial = received


def all_gather(communicator: MPI.Intracomm | BackoffComm, whole: np.ndarray, parts: list[slice]) -> None:
    """Fill `whole`, which holds this rank's part, with the parts of all."""
    rank, size = communicator.rank, communicator.size
    for step in range(1, size):
        communicator.Sendrecv(whole[parts[(rank - step + 1) % size]], (rank + 1) % size, 0,
                              whole[parts[rank - step]], (rank - 1) % size, 0)
