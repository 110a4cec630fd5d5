"""Ranks agree on what happened to any of them, so that all go on or all end, and one of them says why."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.errors import NotWritten, Refused

T = TypeVar("T")
_TEXT_BYTES = 4096


def run_on_all(comm: Communicator, attempt: Callable[[], T]) -> T:
    """Run `attempt` on every rank; if any is refused, all are, with the message of the lowest such rank.

    `attempt` must not communicate. Every rank calls this.

    Raises:
        Refused: on every rank, with the same message.
    """
    result, message = None, None
    try:
        with comm.busy("preparing its part"):  # a slow disk or download is no stall
            result = attempt()
    except Refused as refusal:
        message = str(refusal)
    message = first_error(comm, message)
    if message is not None:
        raise refused_on_all(message)
    return result


def written_together(comm: Communicator, write: Callable[[], object]) -> None:
    """Run `write` on every rank; where it cannot on any, all end with the sentence of the lowest such rank.

    `write` must not communicate. Every rank calls this.

    Raises:
        NotWritten: on every rank, with the same message.
    """
    message, world = "", comm.world
    try:
        write()
    except NotWritten as failure:
        message = str(failure)
    failed = comm.maximum_int(world.size - world.rank if message else 0)
    if failed:
        raise NotWritten(broadcast_text(comm, message, root=world.size - failed))


def first_error(comm: Communicator, message: str | None) -> str | None:
    """The message of the lowest rank that has one, on every rank; None where none has (every rank calls it)."""
    world = comm.world
    first = int(comm.minimum(np.array([world.size if message is None else world.rank]))[0])
    return broadcast_text(comm, message or "", root=first) if first < world.size else None


def refused_on_all(message: str) -> Refused:
    """A refusal that every rank is about to raise, with the same message."""
    refusal = Refused(message)
    refusal.raised_on_all_ranks = True
    return refusal


def broadcast_text(comm: Communicator, text: str, root: int = 0) -> str:
    """The text of rank `root`, on every rank (at most 4096 bytes of UTF-8)."""
    encoded = text.encode()[:_TEXT_BYTES]
    padded = np.frombuffer(encoded.ljust(_TEXT_BYTES, b"\0"), np.uint8)
    return bytes(comm.broadcast(padded, root).numpy()).rstrip(b"\0").decode(errors="ignore")


def gather_texts(comm: Communicator, text: str) -> list[str]:
    """The texts of all ranks, in rank order, on every rank."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    lengths = comm.all_gather(np.array([len(encoded)], np.int64)).numpy()
    together_ = bytes(comm.all_gather(encoded).numpy())
    ends = np.cumsum(lengths)
    return [together_[end - length : end].decode() for end, length in zip(ends, lengths)]


def same_on_all(comm: Communicator, values: np.ndarray) -> bool:
    """Whether every rank holds the same numbers (a float64 or int64 vector of one length)."""
    lowest, highest = comm.minimum(values), comm.maximum(values)
    return bool(np.array_equal(lowest, highest))
