"""Rows of arrays that other ranks ask for: in memory that the ranks of a node share, so that a row need not be sent there."""

import mmap
import os
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
from mpi4py import MPI

_ALIGNMENT = 64  # bytes, at which each array begins

Wait = Callable[[MPI.Request], None]


class RowMemory:
    """Room for so many rows on each rank (the ranks of a node make it together).

    own: by field, this rank's rows.
    whole: by field, the rows of all ranks of the node one after the other, in the order of their ranks on it; None where the
        system lets no memory be shared, so that rows have to be sent.

    Args:
        like: by field, the shape and dtype of a row.
        rows: on each rank.
        node: the ranks of this node.
    """

    def __init__(self, like: Mapping[str, tuple[tuple[int, ...], np.dtype]], rows: int, node: MPI.Intracomm, wait: Wait):
        self.rows = rows
        self.whole = _shared(like, rows * node.size, node, wait)
        if self.whole is None:
            self.own = {name: np.empty((rows, *shape), dtype) for name, (shape, dtype) in like.items()}
        else:
            mine = slice(node.rank * rows, (node.rank + 1) * rows)
            self.own = {name: array[mine] for name, array in self.whole.items()}


def _shared(like: Mapping[str, tuple[tuple[int, ...], np.dtype]], rows: int, node: MPI.Intracomm,
            wait: Wait) -> dict[str, np.ndarray] | None:
    """Arrays (rows, *shape) in memory that all ranks of the node see; None on all where one of them cannot.

    It is a file without a name, which the first rank makes and the others open through /proc: so nothing is left behind
    by a rank that is killed, and no limit of /dev/shm, which containers have, is met.
    """
    places, length = {}, 0
    for name, (shape, dtype) in like.items():
        places[name] = length
        length += -(-rows * dtype.itemsize * int(np.prod(shape, dtype=np.int64)) // _ALIGNMENT) * _ALIGNMENT
    made, known = _make(length) if node.rank == 0 else -1, np.zeros(4, np.int64)
    if made >= 0:
        status = os.fstat(made)
        known[:] = os.getpid(), made, status.st_dev, status.st_ino
    wait(node.Ibcast(known))
    mapped = _map(known.tolist(), length)
    failed = np.empty(1, np.int64)
    wait(node.Iallreduce(np.array([mapped is None], np.int64), failed, MPI.MAX))
    if made >= 0:
        os.close(made)  # what is mapped stays
    if failed[0]:
        return None
    return {name: np.frombuffer(mapped, dtype, rows * int(np.prod(shape, dtype=np.int64)), places[name]).reshape(rows, *shape)
            for name, (shape, dtype) in like.items()}


def _make(length: int) -> int:
    """A file without a name; -1 where the system has none."""
    with suppress(OSError, AttributeError):
        made = os.memfd_create("hvd_ae rows")
        os.ftruncate(made, max(1, length))
        return made
    return -1


def _map(known: list[int], length: int) -> mmap.mmap | None:
    """The file as memory; None where it is not to be had, or is another one: processes may be counted in each container."""
    process, descriptor, *identity = known
    if not process:
        return None
    with suppress(OSError, ValueError):
        opened = os.open(f"/proc/{process}/fd/{descriptor}", os.O_RDWR)
        try:
            status = os.fstat(opened)
            if [status.st_dev, status.st_ino] == identity and status.st_size >= length:
                return mmap.mmap(opened, max(1, length))
        finally:
            os.close(opened)
    return None
