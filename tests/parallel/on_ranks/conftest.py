"""Tests in this folder run on every rank of a job at once: communicate first, assert after the last collective."""

import os
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from hvd_ae.collectives.start import start
from hvd_ae.runtime.world import read_launch
from tests.parallel.jobs import DEFAULT, JOBS

ENGINE, JOB = os.environ.get("HVD_AE_TEST_ENGINE"), os.environ.get("HVD_AE_TEST_JOB")


@pytest.fixture(scope="session")
def comm():
    """The engine under test, started once per process.

    Through MPI TensorFlow leaves graphs as they are traced: to rewrite them is a quarter of what a short training costs, for
    each rank. What users get, with rewriting, is what runs through Horovod and on one rank, and in every command.
    """
    if ENGINE == "mpi":
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    return start(ENGINE, threads=1)


def pytest_sessionfinish(session, exitstatus):
    session.config.has_failed = exitstatus == pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config):
    """A rank that has failed ends the job, when it has said why: the others would wait for it until their time is over."""
    from mpi4py import MPI  # would start MPI, were it the first to import it

    if getattr(config, "has_failed", False) and MPI.COMM_WORLD.size > 1:
        sys.stdout.flush()
        time.sleep(1)  # in which others say it too, where it is the same
        MPI.COMM_WORLD.Abort(1)


def pytest_collection_modifyitems(config, items):
    """Leave out what does not apply to this engine and number of ranks, and in a job of `make test` what others show."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    left_out = [item for item in here if not takes_part(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def takes_part(item: pytest.Item) -> bool:
    engines, ranks, jobs = (arguments(item, name) for name in ("engines", "ranks", "jobs"))
    jobs = jobs or DEFAULT
    if not any(job in JOBS and applies(*JOBS[job], engines, ranks) for job in jobs):
        raise pytest.UsageError(f"{item.nodeid} runs in no job: of its jobs {jobs}, those of tests/parallel/jobs.py have "
                                "another engine or number of ranks than the test applies to")
    return applies(ENGINE, read_launch(os.environ).size, engines, ranks) and JOB in (None, *jobs)


def applies(engine: str | None, size: int, engines: tuple, ranks: tuple) -> bool:
    return (not engines or engine in engines) and (not ranks or size in ranks)


def arguments(item: pytest.Item, name: str) -> tuple:
    """Of the marker that is nearest: a parameter's before a function's, which pytest itself gives out last."""
    nearest = [mark for mark in reversed(item.own_markers) if mark.name == name] or [item.get_closest_marker(name)]
    return nearest[0].args if nearest[0] else ()
