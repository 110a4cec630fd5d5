"""One failed rank ends the whole job, promptly: with one sentence for what the user can mend, else its traceback."""

import atexit
import contextlib
import ctypes
import gc
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from hvd_ae.errors import RANK_LOST, NotWritten, OutOfSync, Refused, Stopped
from hvd_ae.runtime.speaker import is_mine_to_say
from hvd_ae.runtime.world import read_launch

if TYPE_CHECKING:  # a failure before any command runs must not import TensorFlow first
    from hvd_ae.collectives.communicator import Communicator


_PATIENCE = 3.0  # seconds that a script's exit handlers may take where other ranks wait
_LAST_WORDS = 30.0  # seconds that they may take where none does


def watch(engine: "Communicator | None" = None) -> None:
    """From now on an exception that nobody catches ends every rank, in scripts too; without an engine, its start does."""
    sys.excepthook = lambda kind, error, _: _leave(engine, error)


def end_job(error: BaseException) -> int:
    """Say what went wrong, once, and end the other ranks; returns this process's exit status.

    Where every rank raises the same, all end in good order and the root speaks. A failure of one rank alone aborts
    the others, which wait for it in a collective.
    """
    expected, status = isinstance(error, (Refused, OutOfSync, Stopped, NotWritten)), getattr(error, "exit_status", 1)
    rank, size = _place()
    if size > 1 and not expected and is_of_a_lost_rank(error):
        status = RANK_LOST
    # before MPI runs, all refuse what all were given
    raised_on_all_ranks = expected and (error.raised_on_all_ranks or size == 1)
    speaks = not raised_on_all_ranks or (rank if size > 1 else _launched_rank()) == 0
    if speaks and expected and (raised_on_all_ranks or is_mine_to_say()):
        print(f"hvd-ae: {error}", file=sys.stderr, flush=True)
    elif speaks and not expected:
        where = f"rank {rank} of {size} failed:\n" if size > 1 else ""
        print(f"hvd-ae: {where}{''.join(traceback.format_exception(error))}", file=sys.stderr, flush=True)
    if size > 1 and not raised_on_all_ranks:
        _within(_PATIENCE, _finish_files)
        end_all_ranks(status)
    return status


def is_of_a_lost_rank(error: BaseException) -> bool:
    """Whether it is what a collective raises where another rank has gone: MPI finds its connection closed."""
    return re.search("Horovod has been shut down|MPI_ERR_PROC_FAILED|MPI_ERR_OTHER|[Cc]onnection (reset|closed)",
                     "".join(traceback.format_exception_only(error))) is not None


def end_all_ranks(status: int) -> None:
    """MPI_Abort, and this process for certain: MPI leaves by way of C's exit handlers, in one of which Horovod waits for
    a thread of its own that may be waiting for a rank that never comes.

    Of MPI_COMM_WORLD: of any other communicator MPICH 5 only asks the other ranks to leave by themselves, and there too
    Horovod's handler waits; of this one the launcher kills them.
    """
    time.sleep(1.0)  # Hydra passes on what has been said, but at an abort no longer what it has not read yet
    signal.setitimer(signal.ITIMER_REAL, 2.0)  # SIGALRM ends a process that holds Python's lock, as mpi4py's Abort does
    if _place()[1] > 1:
        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(status)
    os._exit(status)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do as much of it as that allows; the other ranks wait for the end of the job."""
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)  # should it hold Python's lock
    thread = threading.Thread(target=work, name="exit handlers", daemon=True)
    thread.start()
    thread.join(seconds)
    signal.setitimer(signal.ITIMER_REAL, 0.0)


def _finish_files() -> None:
    """What Python's exit would have done for a script: exit handlers, and open files that hold unwritten text."""
    _flush_files()
    horovod = sys.modules.get("horovod.tensorflow")
    if horovod is not None:
        atexit.unregister(horovod.shutdown)  # it waits for the other ranks
    atexit._run_exitfuncs()
    _flush_files()


def _flush_files() -> None:
    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase):
            with contextlib.suppress(Exception):
                thing.flush()


def _launched_rank() -> int:
    """As the launcher has it; 0 where that cannot be read, which is what is to be said."""
    try:
        return read_launch(os.environ).rank
    except Refused:
        return 0


def _place() -> tuple[int, int]:
    """The rank and the world size as far as MPI runs here; (0, 1) where it does not."""
    if "mpi4py.MPI" in sys.modules:
        from mpi4py import MPI

        if MPI.Is_initialized() and not MPI.Is_finalized():
            return MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    return 0, 1


def _leave(engine: "Communicator | None", error: BaseException) -> None:
    status = end_job(error)
    if engine is not None:
        engine.close()
    elif _place()[1] > 1:
        from mpi4py import MPI

        MPI.Finalize()
    _within(_LAST_WORDS, _finish_files)
    # Python's own exit would wait for threads, and print the exception again. C's it has to be: there MPICH 5 takes leave
    # of its launcher, which else kills the ranks that are still ending, and returns their status, 9.
    signal.setitimer(signal.ITIMER_REAL, _LAST_WORDS)
    ctypes.PyDLL(None).exit(status)
