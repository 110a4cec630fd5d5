"""Starts the package's own commands and the parallel tests under real launchers, each under a timeout."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
HVD_AE = str(BIN / "hvd-ae")

# Tests share few cores: one thread a rank keeps ranks from fighting over them, and runs alike everywhere.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default",
               # Milliseconds between two looks of a thread of Horovod: with 0.1 it takes a third of a core.
               "HOROVOD_CYCLE_TIME": os.environ.get("HOROVOD_CYCLE_TIME", "1")}


def run(command: list[str], timeout: float = 240, cwd: Path | None = None, **environment: str):
    """Run a command to its end and return it with its text; a timeout kills the whole process group."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, start_new_session=True,
        env={**ENVIRONMENT, **environment}, stdin=subprocess.DEVNULL,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        raise AssertionError(f"{command} did not end within {timeout} s:\n{out[-3000:]}\n{err[-3000:]}") from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def mpirun(ranks: int, *command: str, **options):
    """Run a command on ranks of the environment's own MPI."""
    return run([str(BIN / "mpirun"), "-np", str(ranks), *command], **options)


@contextmanager
def started(ranks: int, *command: str, log: Path, **environment: str):
    """A job on ranks that goes on while the context lasts, what it says going to the file `log`; ended with it."""
    with open(log, "a") as said:
        job = subprocess.Popen([str(BIN / "mpirun"), "-np", str(ranks), *command], stdout=said, stderr=said,
                               stdin=subprocess.DEVNULL, start_new_session=True, env={**ENVIRONMENT, **environment})
    try:
        yield job
    finally:
        found = [job, *ranks_of(job)] if job.poll() is None else []
        for process in found:
            process.kill()
        job.wait()


def ranks_of(job: subprocess.Popen) -> list[psutil.Process]:
    """The processes that mpirun has started, in the order of ranks."""
    try:
        below = psutil.Process(job.pid).children(recursive=True)
        ranks = [(int(process.environ()["PMI_RANK"]), process) for process in below if "PMI_RANK" in process.environ()]
    except psutil.Error:  # one has just ended
        return []
    first = {}
    for rank, process in sorted(ranks, key=lambda pair: (pair[0], pair[1].pid)):
        first.setdefault(rank, process)
    return list(first.values())


def status_of(job: subprocess.Popen, log: Path, within: float) -> int:
    """The exit status of a job that must end within so many seconds."""
    try:
        return job.wait(timeout=within)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the job did not end within {within} s:\n{log.read_text()[-4000:]}") from None


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.05)


def succeeded(completed) -> str:
    """The standard output of a command that must have exited with 0."""
    assert completed.returncode == 0, (
        f"{' '.join(completed.args)} exited with {completed.returncode}:\n{completed.stdout[-4000:]}\n"
        f"{completed.stderr[-4000:]}"
    )
    return completed.stdout
