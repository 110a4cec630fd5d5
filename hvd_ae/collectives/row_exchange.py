"""Samples that move from the rank that has read them to the rank that trains on them, beside training's own collectives."""

from collections.abc import Mapping

import numpy as np
from mpi4py import MPI

from hvd_ae.collectives.point_to_point import poll_with_backoff
from hvd_ae.collectives.put_rows import put_rows
from hvd_ae.collectives.row_memory import RowMemory
from hvd_ae.runtime.nodes import numbers_of_all

_LONGEST = 5e-4  # seconds between looks


class RowExchange:
    """Rows of arrays that every rank has some of, asked for by number (every rank makes one, and calls the same methods).

    The rows of ranks of the same node are taken from their memory; others are sent.

    It has communicators of its own, so that its messages cannot meet those of training, and is called by one thread at a
    time, which sleeps while it waits: the core belongs to who computes.

    Args:
        node: a number that the ranks of a node have in common; None for those that can share memory.
    """

    def __init__(self, communicator: MPI.Intracomm, node: int | None = None):
        self._communicator = communicator.Dup()
        self._node = self._communicator.Split_type(MPI.COMM_TYPE_SHARED) if node is None else self._communicator.Split(node)
        self.rank, self.size = communicator.rank, communicator.size
        first = int(numbers_of_all(self._node, [self.rank])[0, 0])
        on_node = numbers_of_all(self._communicator, [first, self._node.rank])
        self._place = np.where(on_node[:, 0] == first, on_node[:, 1], -1)  # of each rank on this node; -1: it is on another
        self.calls, self.is_waiting = 0, False

    def memory(self, like: Mapping[str, tuple[tuple[int, ...], np.dtype]], rows: int) -> RowMemory:
        """Room for so many rows of this rank, of which others may ask for each.

        Args:
            like: by name, the shape and dtype of a row, the same on all ranks.
            rows: the same on all ranks.
        """
        return RowMemory(like, rows, self._node, self._wait)

    def meet(self) -> None:
        """Wait for all ranks: what they have put into their memory before can be taken after it, and what they have taken
        need not be kept."""
        self._wait(self._communicator.Ibarrier())

    def take(self, owners: np.ndarray, rows: np.ndarray, memory: RowMemory, into: Mapping[str, np.ndarray],
             places: np.ndarray) -> None:
        """Put rows of all ranks' memory where they are asked for.

        Args:
            owners: int64, the rank that holds each row.
            rows: int64, its number in that rank's memory.
            into: arrays that the rows are put into, at `places`, which ascend.
        """
        if memory.whole is None:  # what is here already need not be sent
            here, own = owners == self.rank, memory.own
            near = rows[here]
        else:
            here, own = self._place[owners] >= 0, memory.whole
            near = self._place[owners[here]] * memory.rows + rows[here]
        for name, array in own.items():
            put_rows(array, near, into[name], places[here])
        if memory.whole is None or self._node.size < self.size:
            self._send(owners[~here], rows[~here], memory.own, into, places[~here])

    def _send(self, owners: np.ndarray, rows: np.ndarray, held: Mapping[str, np.ndarray], into: Mapping[str, np.ndarray],
              places: np.ndarray) -> None:
        """Every rank says how many rows it wants of each, then which, and gets them."""
        by_owner = np.argsort(owners, kind="stable")
        wanted = np.bincount(owners, minlength=self.size)
        given = np.empty_like(wanted)
        self._wait(self._communicator.Ialltoall(wanted, given))
        asked = np.empty(given.sum(), np.int64)
        self._wait(self._communicator.Ialltoallv(_counted(np.ascontiguousarray(rows[by_owner], np.int64), wanted, MPI.INT64_T),
                                                 _counted(asked, given, MPI.INT64_T)))
        for name, array in held.items():
            received = np.empty((len(rows), *array.shape[1:]), array.dtype)
            with _RowType(array) as row_type:
                self._wait(self._communicator.Ialltoallv(_counted(array[asked], given, row_type),
                                                         _counted(received, wanted, row_type)))
            into[name][places[by_owner]] = received

    def gather(self, whole: Mapping[str, np.ndarray], counts: np.ndarray) -> None:
        """Fill arrays that hold this rank's stretch of rows with the stretches of all, in rank order.

        Args:
            counts: int64 (ranks,), the rows of each rank's stretch.
        """
        for array in whole.values():
            with _RowType(array) as row_type:
                self._wait(self._communicator.Iallgatherv(MPI.IN_PLACE, _counted(array, counts, row_type)))

    def free(self) -> None:
        """Give the communicators back (every rank calls it)."""
        self._node.Free()
        self._communicator.Free()

    def _wait(self, request: MPI.Request) -> None:
        self.is_waiting = True
        poll_with_backoff(request.Test, lambda: _LONGEST)
        self.calls += 1
        self.is_waiting = False


class _RowType:
    """A row of an array as one MPI datatype: so rows are counted, of which there are fewer than 2**31, and not bytes."""

    def __init__(self, array: np.ndarray):
        self._bytes = array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))

    def __enter__(self) -> MPI.Datatype:
        self._type = MPI.BYTE.Create_contiguous(self._bytes).Commit()
        return self._type

    def __exit__(self, *_) -> None:
        self._type.Free()


def _counted(array: np.ndarray, counts: np.ndarray, row_type: MPI.Datatype) -> list:
    """What mpi4py takes: memory, rows to or from each rank, where each rank's begin, and the type of a row."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return [array.view(np.uint8) if array.size and row_type is not MPI.INT64_T else array, (counts.tolist(), starts.tolist()),
            row_type]
