"""Signals that ask a run to stop: noted when they come, answered by all ranks together before a call into the graph."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line listens before TensorFlow is imported
    from hvd_ae.collectives.communicator import Communicator

# What schedulers send before they kill: Slurm SIGTERM, or what --signal asks for; others SIGUSR1 or SIGUSR2.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_noted: list[int] = []


@contextmanager
def catch_signals() -> Iterator[None]:
    """While the context lasts, these signals are noted instead of ending the process. It may be entered twice.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, _: _noted.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_requested(comm: "Communicator") -> str | None:
    """Which signal has come to which rank, the same answer on all ranks; None where none has (every rank calls it)."""
    size = comm.world.size
    number, rank = divmod(comm.maximum_int(_noted[0] * size + comm.world.rank if _noted else -1), size)
    if number < 0:
        return None
    return f"{signal.Signals(number).name} on rank {rank}" if size > 1 else signal.Signals(number).name


def clear_signals() -> None:
    """The run has stopped: what was noted shall not stop the next one too."""
    _noted.clear()
