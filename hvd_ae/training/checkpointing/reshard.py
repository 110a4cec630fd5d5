"""What ranks take over of the state that another number of ranks had each of its own."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hvd_ae.averaging.strategy import OfRanks, Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.training.checkpointing.files import BadFile, read_json, read_vectors
from hvd_ae.training.checkpointing.names import own_prefix

_BYTES_AT_ONCE = 64 << 20  # of a vector that one rank passes on to all


def resharded(strategy: Strategy, comm: Communicator, path: Path, ranks: int) -> dict[str, np.ndarray | None]:
    """What this rank takes over of the rank state of another number of ranks (every rank calls it).

    Raises:
        BadFile: on every rank alike.
    """
    files = functools.cache(lambda rank: read_json(path / f"{own_prefix(rank)}json")["own"])
    names = list(strategy.rank_state())
    written = passed_on(comm, 0, lambda: np.array([name in files(0) for name in names]))
    taken = {}
    for name in (name for name, is_written in zip(names, written) if is_written):  # a warm-up's count may be new
        of_ranks = _FromFiles(comm, ranks, lambda rank, name=name: read_vectors(
            path, own_prefix(rank), {name: files(rank)[name]})[name])
        taken[name] = strategy.reshard(name, of_ranks, comm.world)
        for _ in of_ranks:  # this rank may have no use for the rest, and others have
            pass
    return taken


class _FromFiles(OfRanks):
    """A vector of each of the ranks that wrote a checkpoint; every rank asks for the next one.

    Each file is read by one rank, which passes it on to all. One vector at a time is in memory for it.
    """

    def __init__(self, comm: Communicator, ranks: int, read: Callable[[int], np.ndarray]):
        self._comm, self._read, self._ranks, self._next = comm, read, ranks, 0

    def __len__(self) -> int:
        """How many ranks wrote it."""
        return self._ranks

    def __next__(self) -> np.ndarray:
        if self._next == self._ranks:
            raise StopIteration
        rank, self._next = self._next, self._next + 1
        return passed_on(self._comm, rank % self._comm.world.size, lambda: self._read(rank))


def passed_on(comm: Communicator, reader: int, read: Callable[[], np.ndarray]) -> np.ndarray:
    """What rank `reader` reads, on every rank, sent in parts (every rank calls it).

    Raises:
        BadFile: on every rank, what that rank came upon.
    """
    vector, said, is_reader = np.empty(0), "", comm.world.rank == reader
    if is_reader:
        try:
            vector = read()
            said = json.dumps([vector.dtype.str, vector.shape])
        except BadFile as error:
            said = f"bad: {error}"
    said = broadcast_text(comm, said, reader)
    if said.startswith("bad: "):
        raise BadFile(said.removeprefix("bad: "))
    if not is_reader:
        dtype, shape = json.loads(said)
        vector = np.empty(shape, dtype)
    for part in np.split(vector.reshape(-1).view(np.uint8), range(_BYTES_AT_ONCE, vector.nbytes, _BYTES_AT_ONCE)):
        if part.size:
            received = comm.broadcast(part, reader)
            if not is_reader:
                part[:] = received.numpy()
    return vector
