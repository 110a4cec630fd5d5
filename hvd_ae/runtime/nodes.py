"""Which ranks share a node, the cores they have there, and what they tell one another before there is an engine."""

import os
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import tensorflow as tf
from mpi4py import MPI

from hvd_ae.runtime.world import World


def find_world(communicator: MPI.Intracomm) -> World:
    """This process's place, nodes being counted in the order of their first ranks (every rank calls it)."""
    node_communicator = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    first_rank = int(numbers_of_all(node_communicator, [communicator.rank])[0, 0])
    first_ranks = numbers_of_all(communicator, [first_rank])[:, 0].tolist()
    world = World(
        rank=communicator.rank,
        size=communicator.size,
        local_rank=node_communicator.rank,
        local_size=node_communicator.size,
        node=sorted(set(first_ranks)).index(first_ranks[communicator.rank]),
        nodes=len(set(first_ranks)),
    )
    node_communicator.Free()
    return world


class BeforeEngine:
    """As much of a communicator as `consensus.run_on_all` needs, before there is one."""

    def __init__(self, communicator: MPI.Intracomm, world: World):
        self._communicator, self.world = communicator, world

    def busy(self, what: str) -> AbstractContextManager:
        return nullcontext()

    def maximum_int(self, number: int) -> int:
        return int(numbers_of_all(self._communicator, [number]).max())

    def broadcast(self, vector: np.ndarray, root: int) -> tf.Tensor:
        received = np.array(vector)
        self._communicator.Bcast(received, root)
        return tf.constant(received)


def affinities_on_node(communicator: MPI.Intracomm) -> list[set[int]]:
    """The cores that each rank of this node may use (every rank calls it)."""
    node_communicator = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    own = os.sched_getaffinity(0)
    most = int(numbers_of_all(node_communicator, [len(own)]).max())
    padded = numbers_of_all(node_communicator, [*sorted(own), *[-1] * (most - len(own))])
    node_communicator.Free()
    return [set(row[row >= 0].tolist()) for row in padded]


def numbers_of_all(communicator: MPI.Intracomm, own: list[int]) -> np.ndarray:
    """int64 (ranks, numbers): every rank gives as many. As plain memory: mpi4py's own lists would be pickled."""
    numbers = np.empty((communicator.size, len(own)), np.int64)
    communicator.Allgather(np.array(own, np.int64), numbers)
    return numbers


def texts_of_all(communicator: MPI.Intracomm, own: str) -> list[str]:
    """The texts of all ranks in rank order (every rank calls it)."""
    encoded = np.frombuffer(own.encode(), np.uint8)
    lengths = numbers_of_all(communicator, [encoded.size])[:, 0].tolist()
    joined = np.empty(sum(lengths), np.uint8)
    communicator.Allgatherv(encoded, [joined, lengths])
    ends = np.cumsum(lengths)
    return [bytes(joined[end - length : end]).decode() for end, length in zip(ends, lengths)]
