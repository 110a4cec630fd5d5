"""Checkpoints that a thread writes while the training goes on."""

import threading

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.runtime.memory import free_bytes
from hvd_ae.training.checkpointing.save import Taken, Writing

_PART_OF_FREE_MEMORY = 0.8


def has_room(what: Taken, comm: Communicator) -> bool:
    """Whether every rank's node has memory for what its ranks hold of it until it is written (every rank calls it)."""
    held = what.bytes_of(comm.world.is_root)
    most = int(comm.maximum(np.array([held], np.int64))[0])  # the root's node holds what is the same on all ranks once
    needed = most + (comm.world.local_size - 1) * what.bytes_of(False)
    return not comm.maximum_int(needed > _PART_OF_FREE_MEMORY * free_bytes())


class Background:
    """One checkpoint that is being written; every rank has one, and calls `finished` at the same moments."""

    def __init__(self, writing: Writing, comm: Communicator):
        self._writing, self._comm = writing, comm
        self._error: OSError | None = None
        # a daemon: a file server that never answers must not keep a process from its end
        self._thread = threading.Thread(target=self._write, name="checkpoint", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            self._writing.write_alone()
        except OSError as error:
            self._error = error

    def finished(self, wait: bool) -> bool:
        """Whether all ranks have written, and the checkpoint is in its place (every rank calls it).

        Raises:
            NotWritten: on every rank, where any could not write; older checkpoints are as they were.
        """
        if not wait and self._comm.maximum_int(self._thread.is_alive()):
            return False
        self._writing.put_in_place(self._written)
        return True

    def _written(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
