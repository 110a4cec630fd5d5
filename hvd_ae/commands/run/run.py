"""`hvd-ae run -np N -- train ...`: mpirun, and mpirun again on the ranks that are left when one was lost."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from hvd_ae.commands.run.hosts import Hosts
from hvd_ae.errors import RANK_LOST, Refused
from hvd_ae.runs.folder import RunFolder, default_name
from hvd_ae.settings.commands import RunOnRanksSettings
from hvd_ae.settings.parser import parse
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.checkpointing.names import newest_step

_STOPPED = 75
_FRUITLESS = 2  # starts in a row
# How launchers say that a rank was killed: the signal's number, or that and 128; 255 where they lost a whole machine.
_KILLED = {255} | {number + more for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV,
                                        signal.SIGTERM) for more in (0, 128)}


def run(settings: RunOnRanksSettings) -> int:
    """Returns the exit status of the last start; 76 where ranks were lost and no start more was to be had.

    Raises:
        Refused: the command is not `train`, or its settings cannot be used; or there is no such launcher.
    """
    command, folder = _command(settings.command)
    restarts = int(os.environ.get("HVD_AE_RESTARTS", "20")) if settings.restarts is None else settings.restarts
    hosts, job = Hosts(settings.hosts, settings.np), Job(settings.launcher)
    fruitless = 0
    for start in range(restarts + 1):
        before, began = newest_step(folder.checkpoints), time.monotonic()
        written = _last_written(folder)
        again = ["--resume", "--as-ranks", str(settings.np)] if start else []
        placed = [*hosts.options(job.kind), "-n", str(hosts.ranks)]
        status = job.status([*placed, sys.executable, "-m", "hvd_ae", *command, *again])
        # Open MPI 5 says 0 where it lost a whole machine
        is_over = status == 0 and _last_written(folder) != written
        if is_over or job.signalled or not (status == 0 or is_loss(status)):
            return status
        step = newest_step(folder.checkpoints)
        fruitless = 0 if step > before else fruitless + 1
        say(f"a rank was lost after {time.monotonic() - began:.0f} s (status {status}); the newest checkpoint is that of step "
            f"{step}")
        if fruitless == _FRUITLESS:
            say(f"{_FRUITLESS} starts in a row have gained no checkpoint: this is no accident any more")
            return RANK_LOST
        if start < restarts:
            hosts.look()
            say(f"start {start + 2} of at most {restarts + 1}: {hosts}")
    say(f"no more than {restarts} restarts (--restarts)")
    return RANK_LOST


def _last_written(folder: RunFolder) -> int | None:
    """When the summary was, which a training ends with."""
    return folder.summary.stat().st_mtime_ns if folder.summary.exists() else None


def is_loss(status: int) -> bool:
    """Whether a launcher's exit status says that a rank was killed or gave no answer, and not that the command failed."""
    return status == RANK_LOST or status in _KILLED


def say(text: str) -> None:
    print(f"hvd-ae run: {text}", file=sys.stderr, flush=True)


def _command(text: str) -> tuple[list[str], RunFolder]:
    """The command to start, with a run folder; refused here where it would be on all ranks."""
    name, *arguments = shlex.split(text) or [""]
    if name != "train":
        raise Refused(f"command={text!r} is nothing that goes on where it was: write hvd-ae run -np 4 -- train ...")
    settings = parse("hvd-ae train", TrainSettings, arguments).resolved()
    if settings.run_dir is None:
        arguments += ["--run-dir", default_name(settings)]
    return ["train", *arguments], RunFolder(settings.run_dir or arguments[-1])


class Job:
    """Starts a launcher, and passes signals on to it.

    As SIGUSR1, which every launcher passes on to the ranks; of others some die.

    Raises:
        Refused: there is no such launcher.
    """

    def __init__(self, launcher: str):
        self._launcher, self.signalled = shlex.split(launcher), False
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        try:
            said = subprocess.run([self._launcher[0], "--version"], env=self._environment, capture_output=True, text=True,
                                  timeout=60, check=False)
        except (OSError, IndexError):
            raise Refused(f"launcher={launcher!r} cannot be started: install an MPI, or name its mpirun") from None
        self.kind = "openmpi" if "Open MPI" in said.stdout or "OpenRTE" in said.stdout else "hydra"
        self._process: subprocess.Popen | None = None
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame) -> None:
        self.signalled = True
        if number != signal.SIGINT and self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)  # a terminal's SIGINT has reached the launcher already

    def status(self, arguments: list[str]) -> int:
        """The exit status of a start; that of a launcher which a signal has ended is 128 and the signal's number."""
        if self.signalled:
            return _STOPPED
        self._process = subprocess.Popen([*self._launcher, *arguments], env=self._environment, stdin=subprocess.DEVNULL)
        status = self._process.wait()
        status = 128 - status if status < 0 else status
        # ranks that died of the signal, before they could answer it, have lost nothing but the steps since a checkpoint
        return _STOPPED if self.signalled and is_loss(status) else status
