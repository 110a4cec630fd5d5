"""Starts the package's own commands and the parallel tests under real launchers, each under a timeout."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
HVD_AE = str(BIN / "hvd-ae")

# Tests share few cores: one thread a rank keeps ranks from fighting over them, and runs alike everywhere.
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


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


def succeeded(completed) -> str:
    """The standard output of a command that must have exited with 0."""
    assert completed.returncode == 0, (
        f"{' '.join(completed.args)} exited with {completed.returncode}:\n{completed.stdout[-4000:]}\n"
        f"{completed.stderr[-4000:]}"
    )
    return completed.stdout
