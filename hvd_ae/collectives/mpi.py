"""Collectives through mpi4py on the vector's own memory, added up in a fixed order, so that reruns agree bit for bit."""

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import tensorflow as tf
from mpi4py import MPI

from hvd_ae.collectives import ring
from hvd_ae.collectives.async_sum import AsyncSum
from hvd_ae.collectives.communicator import Communicator, Traffic, part_sizes
from hvd_ae.collectives.point_to_point import PointToPoint, poll_with_backoff
from hvd_ae.collectives.row_exchange import RowExchange
from hvd_ae.collectives.window import ParameterWindow
from hvd_ae.runtime.aligned import aligned_empty
from hvd_ae.runtime.nodes import find_world, numbers_of_all
from hvd_ae.runtime.watchdog import Watchdog
from hvd_ae.runtime.world import World

_PIECE = 64 << 20  # bytes that MPI compares at a time: it takes as much memory again
_RING_PART = 32 << 10  # bytes; of shorter parts a ring's many steps would take longer than their bytes
_TOGETHER, _LONGEST = 1e-3, 1e-3  # seconds in which ranks look all the time, and then between two looks


class MPICommunicator(Communicator):
    """MPI collectives on NumPy views of the tensors' memory.

    Args:
        world: this rank's place, as `find_world(communicator)` found it.
        communicator: the ranks that take part.
    """

    name = "mpi"

    def __init__(self, world: World, communicator: MPI.Intracomm = MPI.COMM_WORLD):
        super().__init__(world)
        self.communicator = communicator
        self._side_channels: list[PointToPoint | ParameterWindow | AsyncSum] = []  # what moves bytes beside the collectives
        self._exchanges: list[RowExchange] = []  # what moves samples, which is no traffic of averaging
        self._moved_beside = Traffic(0, 0, 0.0)  # by those that are no longer needed
        self._waits_in_mpi, self._waits_ended = False, 0

    @property
    def traffic(self) -> Traffic:
        collective = super().traffic
        return Traffic(*(total + getattr(self._moved_beside, name) + sum(getattr(other, name) for other in self._side_channels)
                         for name, total in vars(collective).items()))

    def free_beside(self, other: PointToPoint | ParameterWindow | AsyncSum | RowExchange) -> None:
        other.free()
        if isinstance(other, RowExchange):
            self._exchanges.remove(other)
            return
        moved = {name: total + getattr(other, name) for name, total in vars(self._moved_beside).items()}
        self._moved_beside = Traffic(**moved)
        self._side_channels.remove(other)

    def point_to_point(self) -> PointToPoint:
        self._side_channels.append(PointToPoint(self.communicator))
        return self._side_channels[-1]

    def async_sum(self) -> AsyncSum:
        def sum_of(vector: np.ndarray) -> np.ndarray:
            total, parts = aligned_empty(vector.size, vector.dtype), self._parts(vector.size)
            ring.reduce_scatter(backoff_comm, vector, parts, total[parts[backoff_comm.rank]])
            ring.all_gather(backoff_comm, total, parts)
            return total

        backoff_comm = ring.BackoffComm(self.communicator, lambda: async_sum.is_waiting)
        async_sum = AsyncSum(sum_of, 2 * (self.world.size - 1) / self.world.size, backoff_comm.free)
        self._side_channels.append(async_sum)
        return async_sum

    def row_exchange(self) -> RowExchange:
        self._exchanges.append(RowExchange(self.communicator))
        return self._exchanges[-1]

    def parameter_window(self, parameters: int) -> ParameterWindow:
        self._side_channels.append(ParameterWindow(self.communicator, parameters))
        return self._side_channels[-1]

    def barrier(self) -> None:
        with self._waiting():
            self._sleep_until_all_have_come()
            self.communicator.Barrier()

    def maximum_int(self, number: int) -> int:
        of_all = np.empty(1, np.int64)
        with self._waiting():
            self._sleep_until_all_have_come()
            self.communicator.Allreduce(np.array([number], np.int64), of_all, MPI.MAX)
        return int(of_all[0])

    def _sleep_until_all_have_come(self) -> None:
        """At once where ranks come together, asleep where one of them has more to do first.

        MPI would keep a core busy all that time, which the one that works could use, and other jobs beside. Not by a
        sum that does not block: beside the watchdog's thread, Open MPI 4.1.4 was seen to end one without its result.
        """
        request, soon = self.communicator.Ibarrier(), time.perf_counter() + _TOGETHER
        while not request.Test():
            if time.perf_counter() > soon:
                poll_with_backoff(request.Test, lambda: _LONGEST)
                return

    @contextmanager
    def _waiting(self):
        self._waits_in_mpi = True
        try:
            yield
        finally:
            self._waits_ended += 1
            self._waits_in_mpi = False

    def wait_token(self) -> tuple | None:
        """None, or this rank waits for others: then a value that stays the same for as long as it is the same wait."""
        ended, begun = self._traffic.numpy()[0], self._begun.numpy()
        beside = [*self._side_channels, *self._exchanges]
        if self._waits_in_mpi or begun > ended or any(other.is_waiting for other in beside):
            return ended, sum(other.calls for other in beside), self._waits_ended
        return None

    def works_at(self) -> tuple[str, float] | None:
        """What this rank has announced by `busy`, and for how many seconds it has been at it."""
        what, since = (self._works_at or [("", 0.0)])[0]
        return (what, time.monotonic() - since) if what else None

    def reads(self) -> tuple[str, float] | None:
        """What a thread of this rank reads, and for how many seconds it has been at it."""
        reads = self._reads
        return reads and (reads[0], time.monotonic() - reads[1])

    def watched(self, timeout: float, folder: Path) -> AbstractContextManager:
        return Watchdog(self.communicator, self, timeout, folder) if timeout else nullcontext()

    def close(self) -> None:
        MPI.Finalize()

    def _sum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._on_numpy(self._ordered_sum, vector, vector.shape)

    def _ordered_sum(self, vector: np.ndarray) -> np.ndarray:
        total, parts = aligned_empty(vector.size, vector.dtype), self._parts(vector.size)
        self._reduce_part(vector, parts, total[parts[self.world.rank]])
        self._gather_parts(total, parts)
        return total

    def _reduce_scatter(self, vector: tf.Tensor) -> tf.Tensor:
        return self._on_numpy(self._my_sum, vector, [None])

    def _my_sum(self, vector: np.ndarray) -> np.ndarray:
        parts = self._parts(vector.size)
        mine = aligned_empty(vector[parts[self.world.rank]].size, vector.dtype)
        self._reduce_part(vector, parts, mine)
        return mine

    def _all_gather(self, part: tf.Tensor, total: int | None = None) -> tf.Tensor:
        return self._on_numpy(self._gather, part, [None])

    def _gather(self, part: np.ndarray) -> np.ndarray:
        parts = _slices(numbers_of_all(self.communicator, [part.size])[:, 0].tolist())
        gathered = aligned_empty(parts[-1].stop, part.dtype)
        np.copyto(gathered[parts[self.world.rank]], part)
        self._gather_parts(gathered, parts)
        return gathered

    # MPI_Allreduce only promises a fixed order as advice to implementors (MPI 4.1, 6.9.1). Its two halves, written out,
    # add in an order that only the length of the vector and the number of ranks decide.

    def _reduce_part(self, vector: np.ndarray, parts: list[slice], mine: np.ndarray) -> None:
        if self._in_a_ring(vector.nbytes):
            ring.reduce_scatter(self.communicator, vector, parts, mine)
            return
        theirs = np.empty((self.world.size, mine.size), vector.dtype)
        self.communicator.Alltoallv([vector, [part.stop - part.start for part in parts]],
                                    [theirs, [mine.size] * self.world.size])
        np.copyto(mine, theirs[0])
        for part in theirs[1:]:
            mine += part

    def _gather_parts(self, whole: np.ndarray, parts: list[slice]) -> None:
        if self._in_a_ring(whole.nbytes):
            ring.all_gather(self.communicator, whole, parts)
            return
        self.communicator.Allgatherv(MPI.IN_PLACE, [whole, [part.stop - part.start for part in parts]])

    def _in_a_ring(self, length: int) -> bool:
        size = self.world.size
        return size == 2 or (size > 2 and length >= size * _RING_PART)

    def _parts(self, count: int) -> list[slice]:
        return _slices(part_sizes(count, self.world.size))

    def _minimum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._on_numpy(lambda v: self._all_reduce(v, MPI.MIN), vector, vector.shape)

    def _maximum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._on_numpy(lambda v: self._all_reduce(v, MPI.MAX), vector, vector.shape)

    def _all_reduce(self, vector: np.ndarray, operation: MPI.Op) -> np.ndarray:
        result = aligned_empty(vector.size, vector.dtype)
        for first in range(0, vector.size, _PIECE // vector.itemsize):
            piece = slice(first, first + _PIECE // vector.itemsize)
            self.communicator.Allreduce(vector[piece], result[piece], operation)
        return result

    def _broadcast(self, vector: tf.Tensor, root: int) -> tf.Tensor:
        def from_root(own: np.ndarray) -> np.ndarray:
            result = aligned_empty(own.size, own.dtype)
            if self.world.rank == root:
                np.copyto(result, own)
            self.communicator.Bcast(result, root)
            return result

        return self._on_numpy(from_root, vector, vector.shape)

    def _all_to_all(self, vector: tf.Tensor) -> tf.Tensor:
        def exchange(own: np.ndarray) -> np.ndarray:
            received = aligned_empty(own.size, own.dtype)
            self.communicator.Alltoall(_as_bytes(own), _as_bytes(received))
            return received

        return self._on_numpy(exchange, vector, vector.shape)

    def _shift(self, vector: tf.Tensor, distance: tf.Tensor) -> tf.Tensor:
        rank, size = self.world.rank, self.world.size

        def exchange(own: np.ndarray, by: np.ndarray) -> np.ndarray:
            received = aligned_empty(own.size, own.dtype)
            self.communicator.Sendrecv(own, (rank + int(by)) % size, 0, received, (rank - int(by)) % size, 0)
            return received

        return self._on_numpy(exchange, vector, vector.shape, distance)

    def _adasum(self, vector: tf.Tensor) -> tf.Tensor:
        rank, size = self.world.rank, self.world.size

        def add_up(own: np.ndarray) -> np.ndarray:
            total, received = own, aligned_empty(own.size, own.dtype)
            distance = 1
            while distance < size:
                partner = rank ^ distance
                self.communicator.Sendrecv(total, partner, 0, received, partner, 0)
                total = adaptive_sum(*((total, received) if rank < partner else (received, total)))
                distance *= 2
            return total if total is not own else own.copy()

        return self._on_numpy(add_up, vector, vector.shape)

    def split(self, groups: list[list[int]]) -> "MPICommunicator":
        communicator = self.communicator.Split(group_of(self.world.rank, groups))
        part = MPICommunicator(find_world(communicator), communicator)
        part.counts_with(self)
        return part

    def free(self) -> None:
        self.communicator.Free()

    def counts_with(self, whole: "MPICommunicator") -> None:
        """What a group of ranks moves is this rank's traffic too, and what it works at this rank's work."""
        self._traffic, self._begun, self._works_at = whole._traffic, whole._begun, whole._works_at

    def _on_numpy(self, function, vector: tf.Tensor, shape, *more: tf.Tensor) -> tf.Tensor:
        """Call `function` on the tensors' memory, now or, inside `tf.function`, when the graph runs."""
        if tf.executing_eagerly():
            return tf.convert_to_tensor(function(np.ascontiguousarray(vector.numpy()), *(m.numpy() for m in more)))
        result = tf.numpy_function(function, [vector, *more], vector.dtype)
        result.set_shape(shape)
        return result


def _slices(sizes: list[int]) -> list[slice]:
    """Consecutive ones."""
    starts = list(accumulate(sizes, initial=0))
    return [slice(first, last) for first, last in pairwise(starts)]


def adaptive_sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Each vector without half of what it shares with the other: orthogonal ones add up, equal ones stay as they are.

    Maleki et al. 2020 (https://arxiv.org/abs/2006.02924), equation 7.
    """
    dot, of_first, of_second = (float(np.einsum("i,i", a, b, dtype=np.float64))
                                for a, b in ((first, second), (first, first), (second, second)))
    first_share = 1.0 - dot / (2.0 * of_first) if of_first else 1.0
    second_share = 1.0 - dot / (2.0 * of_second) if of_second else 1.0
    total = aligned_empty(first.size, first.dtype)
    np.multiply(first, np.float32(first_share), out=total)
    total += second * np.float32(second_share)
    return total


def _as_bytes(vector: np.ndarray) -> list:
    return [vector.view(np.uint8), MPI.BYTE]  # bfloat16 and float16 are no MPI types, and nothing is added here


def group_of(rank: int, groups: list[list[int]]) -> int:
    return next(position for position, group in enumerate(groups) if rank in group)
