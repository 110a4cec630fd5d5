"""Collectives through Horovod's own operations, which run inside the graph: NCCL on GPUs, MPI on CPUs."""

import copy
import os
from collections.abc import Callable

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf
from mpi4py import MPI

from hvd_ae.collectives.mpi import MPICommunicator, group_of
from hvd_ae.errors import Refused
from hvd_ae.runtime.devices import visible_gpus
from hvd_ae.runtime.nodes import find_world, numbers_of_all
from hvd_ae.runtime.world import World

# Elements in one operation: Horovod counts them in C's int, and crashes beyond it (mpi_operations.cc).
LARGEST = 2**31 - 1


class HorovodCommunicator(MPICommunicator):
    """Horovod's raw collectives; the barrier, the world, the abort and what Horovod lacks go through MPI directly.

    A vector that is too long for Horovod to count is sent in pieces where each element is by itself, else through MPI.

    Raises:
        Refused: Horovod sees another number of ranks than MPI does.
    """

    name = "horovod"

    def __init__(self, world: World):
        super().__init__(world, MPI.COMM_WORLD)
        _choose_cycle(world)
        hvd.init(process_sets="dynamic")
        if hvd.size() != self.world.size or hvd.rank() != self.world.rank:
            raise Refused(
                f"mpi4py sees rank {self.world.rank} of {self.world.size} but Horovod sees rank {hvd.rank()} of "
                f"{hvd.size()}: they are linked to different MPIs; run `hvd-ae install-horovod`"
            )
        self._set = hvd.global_process_set
        self._operations = self._splits = 0
        self._prefix = "hvd_ae"

    def close(self) -> None:
        hvd.shutdown()
        super().close()

    def _for(self, operation: str) -> dict:
        """The group of ranks and the name by which Horovod matches an operation over them.

        Every rank traces the same operations in the same order, but not always within the same graph (in `sequential`
        ranks differ in what they wait for), so the name must not depend on the scopes around it.
        """
        self._operations += 1
        return {"process_set": self._set, "ignore_name_scope": True, "name": f"{self._prefix}.{operation}.{self._operations}"}

    def split(self, groups: list[list[int]]) -> "HorovodCommunicator":
        part = copy.copy(self)
        communicator = self.communicator.Split(group_of(self.world.rank, groups))
        MPICommunicator.__init__(part, find_world(communicator), communicator)
        part.counts_with(self)
        self._splits += 1
        part._prefix = f"{self._prefix}.group{self._splits}"
        # every rank registers every group, in the same order, as Horovod asks
        sets = [_process_set(group, self.world.size) for group in groups]
        part._set = sets[group_of(self.world.rank, groups)]
        return part

    def _sum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._in_pieces(lambda piece: hvd.allreduce(piece, op=hvd.Sum, **self._for("sum")), vector)

    def _minimum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._in_pieces(lambda piece: hvd.allreduce(piece, op=hvd.Min, **self._for("minimum")), vector)

    def _maximum(self, vector: tf.Tensor) -> tf.Tensor:
        return self._in_pieces(lambda piece: hvd.allreduce(piece, op=hvd.Max, **self._for("maximum")), vector)

    def _reduce_scatter(self, vector: tf.Tensor) -> tf.Tensor:
        return _chosen(_length(vector) > LARGEST, lambda: MPICommunicator._reduce_scatter(self, vector),
                       lambda: hvd.reducescatter(vector, op=hvd.Sum, **self._for("reduce_scatter")))

    def _all_gather(self, part: tf.Tensor, total: int | None = None) -> tf.Tensor:
        if total is None:
            total = self._on_numpy(lambda own: self._total_length(own), tf.reshape(tf.size(part, tf.int64), [1]), [1])[0]
        return _chosen(total > LARGEST, lambda: MPICommunicator._all_gather(self, part),
                       lambda: hvd.allgather(part, **self._for("all_gather")))

    def _total_length(self, own: np.ndarray) -> np.ndarray:
        """Each rank knows its own part's length only, and Horovod counts the elements of all."""
        return numbers_of_all(self.communicator, own.tolist()).sum(axis=0)

    def _broadcast(self, vector: tf.Tensor, root: int) -> tf.Tensor:
        root = self._set.ranks[root] if self._set.ranks else root  # Horovod counts the ranks of the whole job
        return self._in_pieces(lambda piece: hvd.broadcast(piece, root_rank=root, **self._for("broadcast")), vector)

    def _adasum(self, vector: tf.Tensor) -> tf.Tensor:
        # on GPUs Horovod's own would take the mean of a node's ranks, and combine only nodes as the paper does
        return _chosen(visible_gpus() > 0 or _length(vector) > LARGEST, lambda: MPICommunicator._adasum(self, vector),
                       lambda: hvd.allreduce(vector, op=hvd.Adasum, **self._for("adasum")))

    def _in_pieces(self, operation: Callable[[tf.Tensor], tf.Tensor], vector: tf.Tensor) -> tf.Tensor:
        """An operation on each element by itself, on at most `LARGEST` of them at a time."""
        length = _length(vector)

        def one_after_the_other() -> tf.Tensor:
            result = tf.TensorArray(vector.dtype, size=0, dynamic_size=True, infer_shape=False, element_shape=[None])
            pieces = (length + LARGEST - 1) // LARGEST
            _, result = tf.while_loop(
                lambda piece, _: piece < tf.cast(pieces, tf.int32),
                lambda piece, done: (piece + 1, done.write(piece, operation(_piece(vector, piece)))),
                (tf.constant(0), result), parallel_iterations=1)
            whole = result.concat()
            whole.set_shape(vector.shape)
            return whole

        return _chosen(length > LARGEST, one_after_the_other, lambda: operation(vector))


def _length(vector: tf.Tensor):
    """A number, or inside `tf.function` a tensor where only the run will tell."""
    return tf.size(vector, tf.int64) if vector.shape[0] is None else vector.shape[0]


def _piece(vector: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    first = tf.cast(number, tf.int64) * LARGEST
    return vector[first : first + LARGEST]


def _chosen(is_long, then: Callable[[], tf.Tensor], otherwise: Callable[[], tf.Tensor]) -> tf.Tensor:
    """One of two, now where it is known already; nothing is added to the graph of vectors of known, usual length."""
    if tf.is_tensor(is_long) and not tf.executing_eagerly():
        return tf.cond(is_long, then, otherwise)
    return then() if bool(is_long) else otherwise()


def _choose_cycle(world: World) -> None:
    """Set, where the user has not, how often Horovod looks for work: HOROVOD_CYCLE_TIME in milliseconds, read by `hvd.init`.

    On one node its default of 1 keeps a vector waiting (two ranks, deep model: medians of 23,500 to 25,800 samples/s against
    27,000 with 0.1). But ranks look together: between nodes that takes messages, which take more from who computes the more
    often they are sent (`parameter` every 64 steps over 1 Gbit/s TCP: 15,000 samples/s with 0.1 against 27,800 with 1).
    """
    if world.nodes == 1:
        os.environ.setdefault("HOROVOD_CYCLE_TIME", "0.1")


_process_sets: dict[tuple[int, ...], hvd.ProcessSet] = {}  # Horovod takes each group of ranks only once a process


def _process_set(ranks: list[int], world_size: int) -> hvd.ProcessSet:
    if len(ranks) == world_size:
        return hvd.global_process_set
    if tuple(ranks) not in _process_sets:
        _process_sets[tuple(ranks)] = hvd.add_process_set(ranks)
    return _process_sets[tuple(ranks)]
