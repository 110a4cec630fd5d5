"""Starts what is measured as a user would, under a timeout, and looks at the memory of its ranks meanwhile."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.resident import Watch
from benchmarks.rows import ROOT

BIN = Path(sys.executable).parent
HVD_AE = str(BIN / "hvd-ae")


class JobFailed(RuntimeError):
    """A job that gave no number; the message is one line that says why."""


@dataclass(frozen=True)
class Ended:
    """A job that went well."""

    output: str
    rows: list[dict]  # what it printed in lines that begin with ROW
    memory: dict[int, dict[str, int]]  # by rank, bytes: peak (VmHWM), and the largest seen anonymous and file

    def rate(self) -> float:
        """Samples per second, as a peer says it."""
        return next(row["samples_per_second"] for row in self.rows)


def mpirun(ranks: int, *command: str) -> list[str]:
    """A command on ranks of this environment's MPI; one rank is a process by itself, as for a user."""
    return [str(BIN / "mpirun"), "-np", str(ranks), *command] if ranks > 1 else list(command)


def module(name: str, *arguments) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def run(command: Sequence[str], timeout: float = 600, cores: int | None = None, **environment: str) -> Ended:
    """Run to the end.

    Args:
        cores: let the job have no more than so many of this process's cores.

    Raises:
        JobFailed: it could not be started, did not exit with 0, or took longer than `timeout` seconds.
    """
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    try:
        process = subprocess.Popen(
            list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            stdin=subprocess.DEVNULL, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )
    except OSError as error:
        raise JobFailed(f"{command[0]} cannot be started ({error.strerror})") from None
    watch = Watch(process.pid)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise JobFailed(f"it did not end within {timeout:.0f} s") from None
    finally:
        watch.stop()
        _end(process)
    if process.returncode:
        raise JobFailed(f"it exited with {process.returncode}: {_last_line(errors or output)}")
    rows = [json.loads(line.removeprefix("ROW ")) for line in output.splitlines() if line.startswith("ROW ")]
    return Ended(output, rows, watch.seen)


def _end(process: subprocess.Popen) -> None:
    """End a job that still runs: launchers are asked first, since they know of ranks that no signal of ours reaches."""
    for ask in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, ask)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)


@dataclass(frozen=True)
class Trained:
    """A run of `hvd-ae train`."""

    summary: dict
    epochs: list[dict]  # the records of metrics.jsonl
    memory: dict[int, dict[str, int]]

    @property
    def rate(self) -> float:
        return self.summary["samples_per_second"]

    @property
    def communication_share(self) -> float | None:
        """Of training time, a mean over ranks, waiting for slower ones included; None in a run of one epoch.

        In the first epoch ranks wait for each other to trace the graph, which says nothing about the others.
        """
        seconds = sum(row["timed_seconds"] for row in self.epochs[1:])
        return sum(row["communication_seconds"] for row in self.epochs[1:]) / seconds if seconds else None

    @property
    def bytes_sent_per_step(self) -> float:
        """By a rank, a mean over ranks."""
        return self.summary["bytes_sent_per_rank"] / self.summary["steps"]


def train(ranks: int, *flags, launch=mpirun, timeout: float = 600, cores: int | None = None, **environment: str) -> Trained:
    """`hvd-ae train` with these flags, and what it says of itself in summary.json.

    Args:
        launch: from (ranks, *command) to the whole command, where that is not this machine's mpirun.

    Raises:
        JobFailed: it failed, ranks fell out of sync, or there was too little of it to time.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        run_dir = Path(folder) / "run"
        command = launch(ranks, HVD_AE, "train", "--run-dir", str(run_dir), "--checkpoint-every", "0", *map(str, flags))
        ended = run(command, timeout, cores, **environment)
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    if summary["samples_per_second"] is None:
        raise JobFailed("its first call into the graph was its last: it trained too few steps to be timed")
    return Trained(summary, [json.loads(line) for line in lines], ended.memory)


def refuse_what_does_not_fit(needed: float) -> None:
    """A machine that runs out of memory ends processes that are none of ours.

    Raises:
        JobFailed: there are not so many bytes.
    """
    with open("/proc/meminfo", encoding="utf-8") as file:
        available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    if needed > 0.9 * available:
        raise JobFailed(f"it needs about {needed / 1e9:.0f} GB of memory, of which {available / 1e9:.0f} are available")


def _last_line(text: str) -> str:
    """The line that most likely says what went wrong, without what launchers add below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or line.startswith("hvd-ae:")]
    line = (errors or lines or ["it said nothing"])[-1]
    for folder in (sys.prefix, str(ROOT)):  # rows are kept, and where this machine has its files is nobody's business
        line = line.replace(f"{folder}/", "")
    return line[:300]
