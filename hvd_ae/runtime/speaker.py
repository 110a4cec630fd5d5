"""Where several ranks fail in the same moment with a sentence of their own, one of them says it for all."""

import contextlib
import time

_FAILED, _SAYS_IT = 7001, 7002  # tags of messages on MPI_COMM_WORLD, on which nothing else is sent with a tag
_GRACE = 0.5  # seconds in which a lower rank may fail too and speak instead


def is_mine_to_say() -> bool:
    """Whether this rank, which has failed, is the one to say why: the lowest of those that fail within half a second.

    No collective: ranks that did not fail never call this. A file that is replaced is seen by all who read it, and one
    sentence is enough. Called by a rank that is about to end the job.
    """
    from mpi4py import MPI

    world, sent = MPI.COMM_WORLD, []
    with contextlib.suppress(MPI.Exception):  # then everybody speaks, which is better than nobody
        _tell_others(world, _FAILED, sent)
        until = time.monotonic() + (_GRACE if world.rank else 0.0)
        while True:
            if world.Iprobe(MPI.ANY_SOURCE, _SAYS_IT) or any(world.Iprobe(rank, _FAILED) for rank in range(world.rank)):
                return False
            if time.monotonic() >= until:
                break
            time.sleep(0.02)
        _tell_others(world, _SAYS_IT, sent)
    return True


def _tell_others(world, tag: int, sent: list) -> None:
    """Without waiting for any of them, since some may never come; `sent` keeps what MPI has not delivered yet."""
    for rank in range(world.size):
        if rank != world.rank:
            sent.append(world.Isend(b"", rank, tag))
