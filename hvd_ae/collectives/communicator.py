"""What ranks can do together with flat vectors, counted and timed in one place; each engine only moves the bytes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from hvd_ae.collectives.async_sum import AsyncSum
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import refused_on_all
from hvd_ae.runtime.devices import reruns_agree
from hvd_ae.runtime.world import World

if TYPE_CHECKING:  # these need MPI
    from hvd_ae.collectives.point_to_point import PointToPoint
    from hvd_ae.collectives.row_exchange import RowExchange
    from hvd_ae.collectives.window import ParameterWindow

_ALL_OF_IT = None  # instead of a number of rounds: the whole vector leaves this rank


@dataclass(frozen=True)
class Traffic:
    """What this rank has moved since the start of the process."""

    calls: int
    bytes_sent: int  # what a bandwidth-optimal algorithm sends, see `Communicator`
    seconds: float  # from this rank's data being ready to its result, so waiting for slower ranks counts

    def __sub__(self, earlier: "Traffic") -> "Traffic":
        return Traffic(
            self.calls - earlier.calls, self.bytes_sent - earlier.bytes_sent, self.seconds - earlier.seconds
        )


def part_sizes(count: int, ranks: int) -> list[int]:
    """`count` elements dealt to `ranks` consecutive parts, the first ones one longer where it does not divide."""
    return [count // ranks + (rank < count % ranks) for rank in range(ranks)]


def _now() -> tf.Tensor:
    """Seconds, float64; through NumPy where reruns are to agree, since TensorFlow then refuses its own clock."""
    if reruns_agree():
        return tf.numpy_function(lambda: np.float64(time.time()), [], tf.float64, stateful=True)
    return tf.timestamp()


class Communicator(ABC):
    """Collectives on one-dimensional tensors, eager or inside `tf.function`; every rank calls them, or none.

    Any dtype that MPI can add (float32, float64, int64, ...). A scalar is a vector of length one. Bytes are counted
    as what each rank has to send at least (Chan et al. 2007, https://doi.org/10.1002/cpe.1206): with N ranks and a
    vector of B bytes, 2 B (N-1)/N for sum, minimum and maximum, B (N-1)/N for reduce-scatter, all-gather and
    broadcast.
    """

    name: str

    def __init__(self, world: World):
        self.world = world
        with tf.device("/cpu:0"):
            # calls, bytes and seconds: float64 counts bytes exactly up to 9 PB
            self._traffic = tf.Variable(tf.zeros([3], tf.float64), trainable=False, name="traffic")
            self._begun = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="begun")
        self._works_at: list[tuple[str, float]] = []  # what `busy` announces, and since when
        self._reads: tuple[str, float] | None = None  # what `reading` says

    def sum(self, vector) -> tf.Tensor:
        """The element-wise sum over ranks, the same bytes on every rank."""
        return self._metered(self._sum, vector, 2.0)

    def mean(self, vector) -> tf.Tensor:
        """The element-wise mean over ranks, each rank counting once. A mean over samples is a sum of weighted parts."""
        total = self.sum(vector)
        return total / tf.cast(self.world.size, total.dtype)

    def minimum(self, vector) -> tf.Tensor:
        return self._metered(self._minimum, vector, 2.0)

    def maximum(self, vector) -> tf.Tensor:
        return self._metered(self._maximum, vector, 2.0)

    def reduce_scatter(self, vector) -> tf.Tensor:
        """This rank's part of the sum over ranks; `part_sizes` says how long each part is."""
        return self._metered(self._reduce_scatter, vector, 1.0)

    def all_gather(self, part, total: int | None = None) -> tf.Tensor:
        """The ranks' parts, which may differ in length, one after the other in rank order.

        Args:
            total: the length of the result, where all ranks know it: otherwise they may have to ask one another.
        """
        return self._metered(lambda p: self._all_gather(p, total), part, self.world.size)

    def broadcast(self, vector, root: int = 0) -> tf.Tensor:
        """The vector of rank `root`; the others' must have the same length and dtype."""
        return self._metered(lambda v: self._broadcast(v, root), vector, 1.0)

    def ring_shift(self, vector, distance) -> tf.Tensor:
        """The vector of the rank `distance` (an int32 scalar) below, ranks being on a ring; all send at once."""
        return self._metered(lambda v: self._shift(v, tf.convert_to_tensor(distance, tf.int32)), vector, _ALL_OF_IT)

    def all_to_all(self, vector) -> tf.Tensor:
        """Part r of the result is rank r's part for this rank; the parts are of equal length on all ranks."""
        return self._metered(self._all_to_all, vector, 1.0)

    @abstractmethod
    def split(self, groups: list[list[int]]) -> "Communicator":
        """Collectives among the ranks of this rank's group; every rank calls it with the same disjoint groups.

        Whoever splits calls `free` when the group is no longer needed.
        """

    def free(self) -> None:
        """Give back what `split` took; every rank of the group calls it."""

    @abstractmethod
    def async_sum(self) -> AsyncSum:
        """A way to sum vectors while the ranks compute; every rank calls it, and `free_beside` when it needs it no longer."""

    def point_to_point(self) -> "PointToPoint":
        """A way to send vectors from rank to rank; every rank calls it.

        Raises:
            Refused: this engine has none.
        """
        raise self._lacks("messages from rank to rank")

    def parameter_window(self, parameters: int) -> "ParameterWindow":
        """A vector on rank 0 that the others reach by one-sided MPI; every rank calls it.

        Raises:
            Refused: this engine has none.
        """
        raise self._lacks("memory that other ranks reach")

    def row_exchange(self) -> "RowExchange | None":
        """A way for a thread to move samples between ranks; every rank calls it. None where there is one rank."""
        return None

    def _lacks(self, what: str) -> Refused:
        return refused_on_all(f"collectives={self.name!r} has no {what}, which this averaging needs: use --collectives mpi or "
                              "horovod, or another --averaging")

    def free_beside(self, other) -> None:
        """Give back what one of the four methods above took; every rank calls it, in the same order."""
        other.free()

    def adasum(self, vector) -> tf.Tensor:
        """The adaptive sum over ranks, whose number must be a power of two (see `averaging/adasum.py`)."""
        return self._metered(self._adasum, vector, 2.0)

    @abstractmethod
    def barrier(self) -> None:
        """Return when every rank has called it. Not for use inside `tf.function`."""

    @abstractmethod
    def maximum_int(self, number: int) -> int:
        """The largest of the ranks' numbers, by the shortest way there is. Not for use inside `tf.function`."""

    def watched(self, timeout: float, folder: Path) -> AbstractContextManager:
        """While the context lasts, a rank that waits for another for `timeout` seconds ends the job and says for whom.

        Args:
            folder: where every rank that can writes its Python stacks then.
        """
        return nullcontext()

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """While the context lasts, this rank does honest work for which others may wait longer than for anything else.

        Nothing is communicated: its own watchdog tells those who ask. A rank may enter it alone.

        Args:
            what: the work, as it is said where it takes too long: "writing the models".
        """
        self._works_at.append((what, time.monotonic()))
        try:
            yield
        finally:
            self._works_at.pop()

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """While the context lasts, a thread of this rank reads this; said where others wait too long, and gains no time."""
        self._reads = what, time.monotonic()
        try:
            yield
        finally:
            self._reads = None

    def close(self) -> None:
        """Leave the job in good order; nothing may be called after it. Only needed where Python's own exit is cut."""

    @property
    def traffic(self) -> Traffic:
        calls, bytes_sent, seconds = self._traffic.numpy()
        return Traffic(int(calls), int(bytes_sent), float(seconds))

    # an engine's Python runs once, when the graph is traced; AutoGraph would try to rewrite Horovod's
    @tf.autograph.experimental.do_not_convert
    def _metered(self, collective, vector, rounds: float | None) -> tf.Tensor:
        """Run a collective in which each rank sends `rounds` x (N-1)/N of the vector's bytes, and count it."""
        vector = tf.convert_to_tensor(vector)
        assert vector.shape.rank == 1, f"collectives take flat vectors, not shape {vector.shape}"
        share = 1.0 if rounds is _ALL_OF_IT else rounds * (self.world.size - 1) / self.world.size
        share *= vector.dtype.size
        # a clock has no input: a control dependency makes it wait for the data, then for the result; of what a GPU computes
        # it waits only until that has been handed to the GPU, so that there some computing counts as communication
        with tf.control_dependencies([vector]):
            started = _now()
            begun = self._begun.assign_add(1.0)  # more begun than counted as ended: this rank waits for others
        with tf.control_dependencies([started, begun]):
            result = collective(vector)
        with tf.control_dependencies([result]):
            seconds = _now() - started
        with tf.device("/cpu:0"):
            self._traffic.assign_add(
                tf.stack([tf.constant(1.0, tf.float64), share * tf.cast(tf.size(vector, tf.int64), tf.float64), seconds])
            )
        return result

    @abstractmethod
    def _shift(self, vector: tf.Tensor, distance: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _adasum(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _all_to_all(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _sum(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _minimum(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _maximum(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _reduce_scatter(self, vector: tf.Tensor) -> tf.Tensor: ...

    @abstractmethod
    def _all_gather(self, part: tf.Tensor, total: int | None = None) -> tf.Tensor: ...

    @abstractmethod
    def _broadcast(self, vector: tf.Tensor, root: int) -> tf.Tensor: ...
