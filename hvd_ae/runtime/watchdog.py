"""When a rank waits too long for another: find out which ranks do not come, and end the job with their names.

Every rank has a thread that looks now and then. A rank that has waited for most of the timeout asks all others. Who
answers "I wait too" is a victim like itself; who does not answer, or does not wait, is what all wait for. Who answers
that it writes the models, or does other work that it has announced (`Communicator.busy`), is given longer.
"""

import contextlib
import faulthandler
import json
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

import numpy as np
from mpi4py import MPI

from hvd_ae.errors import RANK_LOST, ranks_are_together
from hvd_ae.runtime.failure import end_all_ranks

LONGER = 10  # times the timeout, for work that was announced
_QUESTION, _ANSWER = 1, 2  # tags
_ANSWER_BYTES = 1024
_ASK_AFTER, _LISTEN_FOR = 0.7, 0.2  # parts of the timeout, so that the job has ended when it is over


class Watched(Protocol):
    """What a watchdog has to know of its rank."""

    def wait_token(self) -> object:
        """None, or this rank waits for others: then a value that stays the same for as long as the same wait lasts."""

    def works_at(self) -> tuple[str, float] | None:
        """The work that this rank has announced, and for how many seconds it has been at it."""

    def reads(self) -> tuple[str, float] | None:
        """What a thread of this rank reads, and for how many seconds it has been at it."""


class Watchdog:
    """A context in which this rank looks after itself and answers the others (every rank makes one).

    Args:
        timeout: seconds that a rank may wait for another; `LONGER` times that while the other works at what it announced.
        folder: where the ranks write their Python stacks.
    """

    def __init__(self, communicator: MPI.Intracomm, rank: Watched, timeout: float, folder: Path):
        self._communicator = communicator.Dup()
        self._rank, self._timeout, self._folder = rank, timeout, folder
        self._stacks = folder / f"rank-{communicator.rank:05d}.txt"
        self._pause = min(1.0, timeout / 20)
        self._quiet_until = 0.0  # another rank asks, and will speak
        self._wait: tuple[object, float] = (None, time.monotonic())  # what is awaited, and since when
        self._questions = 0  # asked by this rank
        self._sent: list[tuple[MPI.Request, np.ndarray]] = []  # memory that MPI may still read
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, error, _):
        self._over.set()
        self._thread.join()
        if ranks_are_together(error):  # else the job is about to end
            self._communicator.Free()
            self._remove_stacks()

    def _remove_stacks(self) -> None:
        """Nobody has come too late: what was written while somebody was asked says nothing."""
        with contextlib.suppress(OSError):
            self._stacks.unlink(missing_ok=True)
            self._folder.rmdir()  # not while another rank's are in it

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self._answer()
            if self._waited() > _ASK_AFTER * self._timeout and time.monotonic() > self._quiet_until:
                self._ask_all()

    def _waited(self) -> float:
        """Seconds of the wait that goes on now."""
        wait_token, now = self._rank.wait_token(), time.monotonic()
        if wait_token is None or wait_token != self._wait[0]:
            self._wait = wait_token, now
        return now - self._wait[1]

    def _answer(self) -> int | None:
        """Answer whoever asks; returns the lowest rank that has asked."""
        lowest = None
        while self._communicator.Iprobe(MPI.ANY_SOURCE, _QUESTION):
            status, question = MPI.Status(), np.empty(1, np.int64)
            self._communicator.Recv(question, MPI.ANY_SOURCE, _QUESTION, status)
            asker = status.Get_source()
            lowest = asker if lowest is None else min(lowest, asker)
            self._write_stacks()
            said = json.dumps({**self._state(), "question": int(question[0])})
            answer = np.frombuffer(said.encode().ljust(_ANSWER_BYTES), np.uint8)
            self._sent.append((self._communicator.Isend(answer, asker, _ANSWER), answer))
            self._quiet_until = time.monotonic() + self._timeout
        return lowest

    def _state(self) -> dict:
        """What this rank does, as the others want to know it."""
        (what, seconds), (read, reading) = (at or ("", 0.0) for at in (self._rank.works_at(), self._rank.reads()))
        is_stuck = reading > self._pause  # a rank whose thread waits for a file may itself wait for that thread
        return {"waits": self._waited() > self._pause and not is_stuck, "work": what[:60], "seconds": seconds,
                "reads": read[-240:] if is_stuck else "", "reading": reading}

    def _ask_all(self) -> None:
        rank, ranks = self._communicator.rank, range(self._communicator.size)
        self._questions += 1
        for other in ranks:
            if other != rank:  # sent to one that has stopped, it may never arrive: nobody waits for that
                question = np.array([self._questions], np.int64)
                self._sent.append((self._communicator.Isend(question, other, _QUESTION), question))
        self._write_stacks()
        answers: dict[int, dict] = {rank: self._state()}
        deadline = time.monotonic() + _LISTEN_FOR * self._timeout
        while time.monotonic() < deadline and len(answers) < len(ranks):
            time.sleep(self._pause / 4)
            asker = self._answer()
            if asker is not None and asker < rank:
                return  # the lowest of those that ask at the same time speaks
            self._collect(answers)
            if self._waited() < self._pause:
                return  # it has come after all
        silent = [other for other in ranks if other not in answers]
        busy = [other for other in answers if not answers[other]["waits"]]
        working = [other for other in busy if answers[other]["work"]]
        left = LONGER * self._timeout - max((answers[other]["seconds"] for other in working), default=0.0)
        if not silent and working and left > 0:
            self._quiet_until = time.monotonic() + min(self._timeout, left)
            return
        self._end_job(silent, [other for other in busy if other not in working], {r: answers[r] for r in working},
                      {r: answers[r] for r in busy if answers[r]["reads"]})

    def _collect(self, answers: dict[int, dict]) -> None:
        status, answer = MPI.Status(), np.empty(_ANSWER_BYTES, np.uint8)
        while self._communicator.Iprobe(MPI.ANY_SOURCE, _ANSWER):
            self._communicator.Recv(answer, MPI.ANY_SOURCE, _ANSWER, status)
            said = json.loads(answer.tobytes())
            if said["question"] == self._questions:  # else it comes late, and says what was
                answers[status.Get_source()] = said

    def _end_job(self, silent: list[int], busy: list[int], working: dict[int, dict], reading: dict[int, dict]) -> None:
        found = [f"rank {rank} of {self._communicator.size} was at {answer['work']} for {answer['seconds']:.0f} s, which may "
                 f"take {LONGER:g} times as long as a wait" for rank, answer in working.items()]
        if silent:
            found.append(f"{_named(silent)} of {self._communicator.size} gave no answer (stopped, or a node is gone)")
        found += [f"rank {rank} of {self._communicator.size} was reading {answer['reads']} for {answer['reading']:.0f} s, "
                  "so look at the file system" for rank, answer in reading.items()]
        busy = [rank for rank in busy if rank not in reading]
        if busy:
            found.append(f"{_named(busy)} of {self._communicator.size} did something else")
        if not found:
            found.append("all ranks waited for one another")
        print(f"hvd-ae: rank {self._communicator.rank} waited for most of --stall-timeout {self._timeout:g} s: "
              f"{', and '.join(found)}; what each rank was doing is in {self._folder}", file=sys.stderr, flush=True)
        end_all_ranks(RANK_LOST if silent else 1)

    def _write_stacks(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._stacks, "w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError:
            pass  # the names of the ranks matter more


def _named(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
