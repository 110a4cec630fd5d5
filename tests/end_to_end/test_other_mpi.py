"""Another MPI than the environment's, where Debian's Open MPI is installed; `make test-mpis` tries five, with Horovod."""

import json
import sys
from pathlib import Path

import pytest

from hvd_ae.install.check import LAUNCHER
from tests.launch import run, succeeded

MPIRUN, LIBRARY = Path("/usr/bin/mpirun.openmpi"), Path("/usr/lib/x86_64-linux-gnu/libmpi.so.40")


@pytest.mark.skipif(not (MPIRUN.exists() and LIBRARY.exists()), reason="Debian's Open MPI is not installed: openmpi-bin")
def test_training_through_open_mpi(tmp_path):
    """mpi4py's wheel knows both, and takes the library that it is told."""
    open_mpi = {**LAUNCHER, "MPI4PY_MPIABI": "openmpi", "MPI4PY_LIBMPI": str(LIBRARY)}
    command = [str(MPIRUN), "-np", "2", sys.executable, "-m", "hvd_ae", "train", "--model", "shallow", "--epochs", "2"]
    said = succeeded(run([*command, "--collectives", "mpi", "--run-dir", str(tmp_path / "run")], **open_mpi))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ranks"], summary["in_sync"], summary["samples"]) == (2, True, 2 * 1500), said
