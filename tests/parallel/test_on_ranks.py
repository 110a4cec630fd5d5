"""Runs the tests of `on_ranks/` under mpirun: every rank runs the same pytest, and all must pass."""

import sys
from pathlib import Path

import pytest

from tests.launch import mpirun, run, succeeded

HERE = Path(__file__).parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]


@pytest.mark.parametrize("ranks, engine", [(1, "single"), (1, "mpi"), (2, "mpi"), (3, "mpi"), (1, "horovod"),
                                           (2, "horovod"), (3, "horovod")])
def test_collectives_and_laws(ranks, engine):
    command = [*PYTEST, str(HERE / "on_ranks")]
    launched = run(command, HVD_AE_TEST_ENGINE=engine) if engine == "single" else mpirun(
        ranks, *command, HVD_AE_TEST_ENGINE=engine)
    assert "passed" in succeeded(launched)
