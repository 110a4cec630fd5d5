"""Runs the tests of `on_ranks/` under mpirun: every rank runs the same pytest, and all must pass."""

import sys
from pathlib import Path

import pytest

from tests.launch import mpirun, run, succeeded
from tests.parallel.jobs import JOBS

HERE = Path(__file__).parent / "on_ranks"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("job", JOBS)
def test_on_ranks(job):
    engine, ranks = JOBS[job]
    # with more ranks than cores, Horovod's thread is better asleep than looking for work every tenth of a millisecond
    options = {"HVD_AE_TEST_ENGINE": engine, "HVD_AE_TEST_JOB": job, "HOROVOD_CYCLE_TIME": "1" if ranks > 2 else "0.1"}
    command = [*PYTEST, str(HERE)]
    ended = run(command, timeout=960, **options) if engine == "single" else mpirun(ranks, *command, timeout=960, **options)
    assert "passed" in succeeded(ended)
