"""When a rank waits too long for another: find out which ranks do not come, and end the job with their names.

Every rank has a thread that looks now and then. A rank that has waited for most of the timeout asks all others. Who
answers "I wait too" is a victim like itself; who does not answer, or does not wait, is what all wait for.
"""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mpi4py import MPI

from hvd_ae.runtime.failure import end_all_ranks

_QUESTION, _ANSWER = 1, 2  # tags
_BUSY, _WAITS = 0, 1
_ASK_AFTER, _LISTEN_FOR = 0.7, 0.2  # parts of the timeout, so that the job has ended when it is over


class Watchdog:
    """A context in which this rank looks after itself and answers the others (every rank makes one).

    Args:
        awaited: None, or this rank waits for others: then a value that stays the same for as long as the same wait lasts.
        timeout: seconds that a rank may wait for another.
        folder: where the ranks write their Python stacks.
    """

    def __init__(self, communicator: MPI.Intracomm, wait_token: Callable[[], object], timeout: float, folder: Path):
        self._communicator = communicator.Dup()
        self._awaited, self._timeout, self._folder = wait_token, timeout, folder
        self._pause = min(1.0, timeout / 20)
        self._quiet_until = 0.0  # another rank asks, and will speak
        self._wait: tuple[object, float] = (None, time.monotonic())  # what is awaited, and since when
        self._sent: list[tuple[MPI.Request, np.ndarray]] = []  # memory that MPI may still read
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self._answer()
            if self._waited() > _ASK_AFTER * self._timeout and time.monotonic() > self._quiet_until:
                self._ask_all()

    def _waited(self) -> float:
        """Seconds of the wait that goes on now."""
        wait_token, now = self._awaited(), time.monotonic()
        if wait_token is None or wait_token != self._wait[0]:
            self._wait = wait_token, now
        return now - self._wait[1]

    def _answer(self) -> int | None:
        """Answer whoever asks; returns the lowest rank that has asked."""
        lowest = None
        while self._communicator.Iprobe(MPI.ANY_SOURCE, _QUESTION):
            status, nothing = MPI.Status(), np.empty(0, np.uint8)
            self._communicator.Recv(nothing, MPI.ANY_SOURCE, _QUESTION, status)
            asker = status.Get_source()
            lowest = asker if lowest is None else min(lowest, asker)
            self._write_stacks()
            waits = np.array([_WAITS if self._waited() > self._pause else _BUSY], np.uint8)
            self._sent.append((self._communicator.Isend(waits, asker, _ANSWER), waits))
            self._quiet_until = time.monotonic() + self._timeout
        return lowest

    def _ask_all(self) -> None:
        rank, ranks = self._communicator.rank, range(self._communicator.size)
        for other in ranks:
            if other != rank:  # sent to one that has stopped, it may never arrive: nobody waits for that
                nothing = np.empty(0, np.uint8)
                self._sent.append((self._communicator.Isend(nothing, other, _QUESTION), nothing))
        self._write_stacks()
        answers: dict[int, int] = {rank: _WAITS}
        deadline = time.monotonic() + _LISTEN_FOR * self._timeout
        while time.monotonic() < deadline and len(answers) < len(ranks):
            time.sleep(self._pause / 4)
            asker = self._answer()
            if asker is not None and asker < rank:
                return  # the lowest of those that ask at the same time speaks
            self._collect(answers)
            if self._waited() < self._pause:
                return  # it has come after all
        self._end_job(silent=[r for r in ranks if r not in answers], busy=[r for r in answers if answers[r] == _BUSY])

    def _collect(self, answers: dict[int, int]) -> None:
        status, answer = MPI.Status(), np.empty(1, np.uint8)
        while self._communicator.Iprobe(MPI.ANY_SOURCE, _ANSWER):
            self._communicator.Recv(answer, MPI.ANY_SOURCE, _ANSWER, status)
            answers[status.Get_source()] = int(answer[0])

    def _end_job(self, silent: list[int], busy: list[int]) -> None:
        found = []
        if silent:
            found.append(f"{_named(silent)} of {self._communicator.size} gave no answer (stopped, or a node is gone)")
        if busy:
            found.append(f"{_named(busy)} of {self._communicator.size} did something else")
        if not found:
            found.append("all ranks waited for one another")
        print(f"hvd-ae: rank {self._communicator.rank} waited for most of --stall-timeout {self._timeout:g} s: "
              f"{', and '.join(found)}; what each rank was doing is in {self._folder}", file=sys.stderr, flush=True)
        end_all_ranks(1)

    def _write_stacks(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / f"rank-{self._communicator.rank:05d}.txt", "w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError:
            pass  # the names of the ranks matter more


def _named(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
