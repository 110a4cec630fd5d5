"""Runs the tests of `on_ranks/` under mpirun: every rank runs the same pytest, and all must pass."""

import sys
from pathlib import Path

import pytest

from tests.launch import mpirun, run, succeeded
from tests.parallel.jobs import JOBS, LEFT_TO_SOAK

HERE = Path(__file__).parent / "on_ranks"
NOTHING_COLLECTED = 5  # pytest's exit status
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("job", [pytest.param(job, marks=pytest.mark.soak if job in LEFT_TO_SOAK else ()) for job in JOBS])
def test_on_ranks(job):
    ended = run_job(job)
    assert "passed" in succeeded(ended)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("job", JOBS)
def test_on_ranks_at_length(job):
    """What is marked `soak` in there."""
    ended = run_job(job, "-m", "soak")
    assert ended.returncode == NOTHING_COLLECTED or "passed" in succeeded(ended)


def run_job(job, *options):
    engine, ranks = JOBS[job]
    # with more ranks than cores, Horovod's thread is better asleep than looking for work every tenth of a millisecond
    environment = {"HVD_AE_TEST_ENGINE": engine, "HVD_AE_TEST_JOB": job,
                   "HOROVOD_CYCLE_TIME": "1" if ranks > 2 else "0.1"}
    command = [*PYTEST, *options, str(HERE)]
    if engine == "single":
        return run(command, timeout=1400, **environment)
    return mpirun(ranks, *command, timeout=1400, **environment)
