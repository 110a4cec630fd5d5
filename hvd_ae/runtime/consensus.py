"""Ranks agree on what happened to any of them, so that all go on or all end, and one of them says why."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hvd_ae.errors import Refused

if TYPE_CHECKING:
    from hvd_ae.collectives.communicator import Communicator
    from hvd_ae.runtime.nodes import BeforeEngine

T = TypeVar("T")
_TEXT_BYTES = 4096


def run_on_all(comm: "Communicator | BeforeEngine", attempt: Callable[[], T], failure: type[Exception] = Refused,
               name_rank: bool = False) -> T:
    """Run `attempt` on every rank; where it fails on any, it fails on all, with the message of the lowest such rank.

    `attempt` must not communicate. Every rank calls this; it is the one way to try something together.

    Args:
        failure: the exception that is agreed on. Any other is this rank's alone, and ends the job.
        name_rank: whether the message names the rank and its host, where not all ranks failed.

    Raises:
        `failure`: on every rank, with the same message.
    """
    result, message = None, ""
    try:
        with comm.busy("preparing its part"):  # a slow disk or download is no stall
            result = attempt()
    except failure as error:
        message = str(error)
    if name_rank and comm.maximum_int(not message):
        message = message and f"rank {comm.world.rank} on {socket.gethostname()}: {message}"
    message = first_message(comm, message)
    if message:
        raise on_all_ranks(failure(message))
    return result


def first_message(comm: "Communicator | BeforeEngine", message: str) -> str:
    """The message of the lowest rank that has one, on every rank; "" where none has (every rank calls it)."""
    size, rank = comm.world.size, comm.world.rank
    failed = comm.maximum_int(size - rank if message else 0)
    return broadcast_text(comm, message, root=size - failed) if failed else ""


def on_all_ranks(error: Exception) -> Exception:
    """An exception that every rank is about to raise, with the same message: so the job can end in good order."""
    error.raised_on_all_ranks = True
    return error


def refused_on_all(message: str) -> Refused:
    """A refusal that every rank is about to raise, with the same message."""
    return on_all_ranks(Refused(message))


def broadcast_text(comm: "Communicator | BeforeEngine", text: str, root: int = 0) -> str:
    """The text of rank `root`, on every rank (at most 4096 bytes of UTF-8)."""
    encoded = text.encode()[:_TEXT_BYTES]
    padded = np.frombuffer(encoded.ljust(_TEXT_BYTES, b"\0"), np.uint8)
    return bytes(comm.broadcast(padded, root).numpy()).rstrip(b"\0").decode(errors="ignore")


def gather_texts(comm: "Communicator", text: str) -> list[str]:
    """The texts of all ranks, in rank order, on every rank."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    lengths = comm.all_gather(np.array([len(encoded)], np.int64)).numpy()
    together_ = bytes(comm.all_gather(encoded).numpy())
    ends = np.cumsum(lengths)
    return [together_[end - length : end].decode() for end, length in zip(ends, lengths)]


def same_on_all(comm: "Communicator", values: np.ndarray) -> bool:
    """Whether every rank holds the same numbers (a float64 or int64 vector of one length)."""
    lowest, highest = comm.minimum(values), comm.maximum(values)
    return bool(np.array_equal(lowest, highest))
