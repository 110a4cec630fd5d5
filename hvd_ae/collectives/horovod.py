"""Collectives through Horovod's own operations, which run inside the graph: NCCL on GPUs, MPI on CPUs."""

import copy
import os

import horovod.tensorflow as hvd
import tensorflow as tf
from mpi4py import MPI

from hvd_ae.collectives.mpi import MPICommunicator, group_of
from hvd_ae.errors import Refused
from hvd_ae.runtime.nodes import find_world
from hvd_ae.runtime.world import World


class HorovodCommunicator(MPICommunicator):
    """Horovod's raw collectives; only the barrier, the world and the abort go through MPI directly.

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
        return hvd.allreduce(vector, op=hvd.Sum, **self._for("sum"))

    def _minimum(self, vector: tf.Tensor) -> tf.Tensor:
        return hvd.allreduce(vector, op=hvd.Min, **self._for("minimum"))

    def _maximum(self, vector: tf.Tensor) -> tf.Tensor:
        return hvd.allreduce(vector, op=hvd.Max, **self._for("maximum"))

    def _reduce_scatter(self, vector: tf.Tensor) -> tf.Tensor:
        return hvd.reducescatter(vector, op=hvd.Sum, **self._for("reduce_scatter"))

    def _all_gather(self, part: tf.Tensor) -> tf.Tensor:
        return hvd.allgather(part, **self._for("all_gather"))

    def _broadcast(self, vector: tf.Tensor, root: int) -> tf.Tensor:
        root = self._set.ranks[root] if self._set.ranks else root  # Horovod counts the ranks of the whole job
        return hvd.broadcast(vector, root_rank=root, **self._for("broadcast"))

    def _adasum(self, vector: tf.Tensor) -> tf.Tensor:
        return hvd.allreduce(vector, op=hvd.Adasum, **self._for("adasum"))


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
