"""One failed rank ends the whole job, promptly: with one sentence for what the user can mend, else its traceback."""

import os
import sys
import traceback
from typing import TYPE_CHECKING

from hvd_ae.errors import NotWritten, OutOfStep, Refused, Stopped
from hvd_ae.world import read_launch

if TYPE_CHECKING:  # a failure before any command runs must not import TensorFlow first
    from hvd_ae.collectives.engine import Engine

_engine: "Engine | None" = None  # of this process, so that a failure anywhere reaches the other ranks


def watch(engine: "Engine") -> None:
    """From now on an exception that nobody catches ends every rank, in scripts too."""
    global _engine
    _engine = engine
    sys.excepthook = lambda kind, error, _: os._exit(_said_and_closed(error))


def end_job(error: BaseException) -> int:
    """Say what went wrong, once, and end the other ranks; returns this process's exit status.

    Where every rank raises the same, all end in good order and the root speaks. A failure of one rank alone aborts
    the others, which wait for it in a collective.
    """
    expected, status = isinstance(error, (Refused, OutOfStep, Stopped, NotWritten)), getattr(error, "exit_status", 1)
    agreed = expected and (error.agreed or _engine is None)
    speaks = not agreed or (_engine.world.is_root if _engine else read_launch(os.environ).rank == 0)
    if speaks and expected:
        print(f"hvd-ae: {error}", file=sys.stderr, flush=True)
    elif speaks:
        where = f"rank {_engine.world.rank} of {_engine.world.size} failed:\n" if _engine else ""
        print(f"hvd-ae: {where}{''.join(traceback.format_exception(error))}", file=sys.stderr, flush=True)
    if _engine is not None and not agreed:
        _engine.abort(status)
    return status


def _said_and_closed(error: BaseException) -> int:
    status = end_job(error)
    if _engine is not None:
        _engine.close()
    return status
