"""The machines of a job, and which of them answer."""

import os
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from hvd_ae.errors import Refused

_SECONDS = 20.0  # in which a machine has to answer
_FAILURES = 2  # of a machine that is left out from then on


class Hosts:
    """Machines in the order in which they are filled, and how many ranks each takes.

    Args:
        text: a:4,b:4; None for this machine alone, which always answers.
        ranks: as many as the job shall have, where there is room.

    Raises:
        Refused: the text is of another form, or takes fewer ranks.
    """

    def __init__(self, text: str | None, ranks: int):
        self._slots: dict[str, int] = {}
        for each in text.split(",") if text else ():
            found = re.fullmatch(r"([\w.-]+)(?::(\d+))?", each.strip())
            if not found:
                raise Refused(f"hosts={text!r} is no list of machines: write for instance --hosts a:4,b:4")
            self._slots[found[1]] = int(found[2] or 1)
        if text and sum(self._slots.values()) < ranks:
            raise Refused(f"hosts={text!r} take {sum(self._slots.values())} ranks, and np={ranks}: name more, or start fewer")
        self._wanted, self._left, self._failures = ranks, dict(self._slots), Counter()

    @property
    def ranks(self) -> int:
        """How many there are to be now."""
        return min(self._wanted, sum(self._left.values())) if self._slots else self._wanted

    def look(self) -> None:
        """Ask all machines, of which those that give no answer, or have given none twice, are left out.

        Raises:
            Refused: none answers.
        """
        if not self._slots:
            return
        asked = [host for host in self._slots if self._failures[host] < _FAILURES]
        with ThreadPoolExecutor(len(self._slots)) as pool:
            answers = dict(zip(asked, pool.map(_answers, asked)))
        self._failures.update(host for host in asked if not answers[host])
        self._left = {host: self._slots[host] for host in asked if answers[host]}
        if not self._left:
            raise Refused(f"none of {', '.join(self._slots)} answers: go on with --resume when they do")

    def options(self, kind: str) -> list[str]:
        """For the launcher: Open MPI's and Hydra's name machines differently."""
        if not self._slots:
            return []
        named = ",".join(f"{host}:{slots}" for host, slots in self._left.items())
        return ["--host" if kind == "openmpi" else "-hosts", named]

    def __str__(self) -> str:
        return f"{self.ranks} ranks" + (f" on {', '.join(self._left)}" if self._slots else "")


def _answers(host: str) -> bool:
    """By the program through which launchers reach it, too."""
    program = os.environ.get("HYDRA_LAUNCHER_EXEC", "ssh")
    command = [program, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_SECONDS:.0f}", host, "true"]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
