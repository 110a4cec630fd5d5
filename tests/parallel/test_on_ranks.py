"""Runs the tests of `on_ranks/` under mpirun: every rank runs the same pytest, and all must pass."""

import sys
from pathlib import Path

import pytest

from tests.launch import mpirun, run, succeeded

HERE = Path(__file__).parent / "on_ranks"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"]

# What an engine's own operations decide. The rest is the same code for both engines, and slow on few cores where every
# rank has Horovod's thread beside it. Checkpoints are the same code too: exact resumption is tried on two ranks, a change
# of their number from three to two and back.
OWN = ("(test_ways and (law_1 or law_2 or law_3 or sharded or hierarchical or adasum or compressed or gossip or batch_norm "
       "or learns or buckets))")
LAWS = "(test_laws and (law_1 or law_2 or law_3 or batch_norm))"

# The laws at 1 to 3 ranks, collectives and ways at 1 to 4; one rank by itself is the same for every engine.
CASES = [("single", 1, ""), ("mpi", 2, "not another_number"),
         ("mpi", 3, f"not a_resumed_run and not test_plan and not test_probe and (not test_ways or {OWN})"),
         ("mpi", 4, "test_collectives or test_ways or test_plan"), ("horovod", 1, f"test_collectives or {OWN}"),
         ("horovod", 2, "not another_number"), ("horovod", 3, f"test_collectives or {OWN} or {LAWS}"),
         ("horovod", 4, f"test_collectives or {OWN}")]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("engine", "ranks", "only"), CASES, ids=[f"{engine}-{ranks}" for engine, ranks, _ in CASES])
def test_on_ranks(engine, ranks, only):
    command = [*PYTEST, "-k", only, str(HERE)]
    # with more ranks than cores, Horovod's thread is better asleep than looking for work every tenth of a millisecond
    options = {"HVD_AE_TEST_ENGINE": engine, "HOROVOD_CYCLE_TIME": "1" if ranks > 2 else "0.1"}
    ended = run(command, timeout=1400, **options) if engine == "single" else mpirun(ranks, *command, timeout=1400, **options)
    assert "passed" in succeeded(ended)
