"""A process that looks, and its parent that speaks: an MPI that aborts or hangs what it is started in is a line too."""

import ctypes
import dataclasses
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from hvd_ae.commands.doctor.findings import Finding, fault, worst
from hvd_ae.runtime.world import Launch

_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
_LATER = 5.0  # seconds by which the others outlast the one who speaks
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Channel:
    """From the process that looks to its parent: a line of JSON for each thing."""

    def __init__(self, descriptor: int):
        self._pipe = os.fdopen(descriptor, "w", encoding="utf-8")
        self.check = ""

    def doing(self, check: str, what: str, remedy: str) -> None:
        """What to say if nothing comes any more."""
        self.check = check
        self._send(doing=[check, what, remedy])

    def found(self, *findings: Finding) -> None:
        self._send(findings=[dataclasses.asdict(finding) for finding in findings])

    def found_here(self, finding: Finding) -> None:
        """Of this rank alone, which cannot tell the others: said whoever it is."""
        self._send(findings=[dataclasses.asdict(finding)], here=True)

    def quiet(self) -> None:
        """Another rank speaks."""
        self._send(quiet=True)

    def over(self, how: str = "well") -> None:
        self._send(over=how)

    def _send(self, **message) -> None:
        print(json.dumps(message), file=self._pipe, flush=True)


class Report:
    """What came through the channel, said by the rank that speaks: lines at once, JSON at the end."""

    def __init__(self, as_json: bool, launch: Launch):
        self._as_json, self._rank = as_json, launch.rank
        self.speaks, self.over = launch.rank == 0, None
        self._joined = False  # whether it is another rank's process, which has met the root
        self.findings: list[Finding] = []
        self._doing = ("start", "the start of a process", "run it again")

    def take(self, message: dict) -> None:
        self.over = message.get("over", self.over)
        self._joined |= message.get("quiet", False)
        self.speaks &= not self._joined
        self._doing = message.get("doing", self._doing)
        for table in message.get("findings", ()):
            self._add(Finding(**table), message.get("here", False))

    def broke_off(self, how: str, here: bool) -> None:
        """Nothing more will come."""
        check, what, remedy = self._doing
        self._add(fault(check, f"{what} {how}", remedy), here)

    def end(self) -> int:
        if self.speaks and self._as_json:
            print(json.dumps([dataclasses.asdict(finding) for finding in self.findings], indent=1), flush=True)
        status = 1 if worst(self.findings) == "fault" else 0
        root_knows = self._joined and self.over == "well"
        if status and not self.speaks and not root_knows:
            time.sleep(_LATER)  # launchers end all where one fails, and whoever speaks may not have come so far yet
        return status

    def _add(self, finding: Finding, here: bool) -> None:
        self.findings.append(finding)
        if self.speaks and not self._as_json:
            print(finding.line(), flush=True)
        elif here and not self.speaks:
            print(f"rank {self._rank} on {socket.gethostname()}: {finding.line()}", file=sys.stderr, flush=True)


def supervised(look: Callable[[Channel], None], report: Report, timeout: float) -> int:
    """Let a child process look, and say what it finds, or where it ended or stopped; 1 where there is a fault, else 0.

    Args:
        timeout: seconds without a sign from the child after which it is ended.
    """
    incoming, outgoing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(incoming)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # launchers know only the parent
        look(Channel(outgoing))
        sys.exit(0)  # with all that belongs to it: MPI has to be left in good order
    os.close(outgoing)
    if _listen(incoming, report, timeout if report.speaks else timeout + _LATER):
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if report.over is None or (status and report.over == "well"):
            crashed = -status in _CRASHES
            report.broke_off(f"ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}", crashed)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        report.broke_off(f"did not end within {timeout:g} s", here=False)
    return report.end()


def _listen(incoming: int, report: Report, timeout: float) -> bool:
    """Take what comes until the other end is closed; False where nothing came for too long."""
    text = b""
    while select.select([incoming], [], [], timeout)[0]:
        piece = os.read(incoming, 1 << 16)
        if not piece:
            return True
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            report.take(json.loads(line))
    return False
