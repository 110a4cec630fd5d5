"""Runs the tests of `on_ranks/` under mpirun: every rank runs the same pytest, and all must pass."""

import sys
from pathlib import Path

import pytest

from tests.launch import mpirun, run, succeeded

HERE = Path(__file__).parent / "on_ranks"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]

# What an engine's own operations decide. The rest is the same code for both engines, and slow on few cores where every
# rank has Horovod's thread beside it.
HOROVODS_OWN = ("law_1 or law_2 or law_3 or sharded or hierarchical or adasum or compressed or gossip or batch_norm "
                "or learns")

CASES = [("single", 1, None), ("mpi", 2, None), ("mpi", 3, None), ("mpi", 4, None), ("horovod", 1, HOROVODS_OWN),
         ("horovod", 2, None), ("horovod", 3, HOROVODS_OWN), ("horovod", 4, HOROVODS_OWN)]


def start(engine: str, ranks: int, *arguments: str):
    # with more ranks than cores, Horovod's thread is better asleep than looking for work every tenth of a millisecond
    options = {"HVD_AE_TEST_ENGINE": engine, "HOROVOD_CYCLE_TIME": "1" if ranks > 2 else "0.1"}
    command = [*PYTEST, *arguments]
    return run(command, timeout=800, **options) if engine == "single" else mpirun(ranks, *command, timeout=800, **options)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine, ranks", sorted({(engine, ranks) for engine, ranks, _ in CASES}))
def test_collectives(engine, ranks):
    assert "passed" in succeeded(start(engine, ranks, str(HERE / "test_collectives.py")))


# The laws at 1 to 3 ranks, the ways at 1 to 4; one rank by itself is the same for every engine. Checkpoints are the same
# code for both engines: exact resumption is tried on two ranks, a change of their number from three to two and back.
LAWS = [("single", 1, None), ("mpi", 2, "not another_number"), ("mpi", 3, "not a_resumed_run"),
        ("horovod", 2, "not another_number"), ("horovod", 3, "law_1 or law_2 or law_3 or batch_norm")]
TRAININGS = [*(("ways", *case) for case in CASES), *(("laws", *case) for case in LAWS)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name, engine, ranks, only", TRAININGS)
def test_training(name, engine, ranks, only):
    arguments = [str(HERE / f"test_{name}.py"), *(["-k", only] if only else [])]
    assert "passed" in succeeded(start(engine, ranks, *arguments))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine, ranks", [("single", 1), ("mpi", 2), ("mpi", 3), ("horovod", 2)])
def test_probe(engine, ranks):
    assert "passed" in succeeded(start(engine, ranks, str(HERE / "test_probe.py")))
