"""What is no stall: many short waits, and work of one rank that was announced; a hang in that work is found all the same."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.launch import mpirun, succeeded

# No training: what a graph takes to trace on a busy machine would have to fit into these limits.
MANY_SHORT_WAITS = """
import time
from pathlib import Path
from hvd_ae.collectives.start import start

limit, calls = 5.0, 8
comm = start("mpi", threads=1)
comm.barrier()
with comm.watched(limit, Path("stalled")):
    for _ in range(calls):  # as the averaging `none` asks between calls, and does nothing else together
        if comm.world.rank == 1:
            time.sleep(0.4 * limit)
        comm.maximum_int(0)
print("done", flush=True)
"""

WORKS = """
import sys
import time
from pathlib import Path
from hvd_ae.runtime import watchdog
from hvd_ae.collectives.start import start

seconds, longer = map(float, sys.argv[1:3])
watchdog.LONGER = longer
comm = start(sys.argv[3], threads=1)
comm.barrier()
with comm.watched(4.0, Path("stalled")):
    if comm.world.is_root:
        with comm.busy("writing the pictures"):
            time.sleep(seconds)
    comm.sum([1.0])
print("done", flush=True)
"""


# seconds that the root works, how many times longer than a wait that may be, and through what the others wait
JOBS = {"waits": (MANY_SHORT_WAITS,), "works": (WORKS, "10", "10", "horovod"), "hangs": (WORKS, "1000", "2", "mpi")}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Each job's end and its folder: side by side, since they sleep most of their time."""

    def run(script: str, *arguments: str):
        folder = tmp_path_factory.mktemp("job")
        (folder / "script.py").write_text(script)
        return mpirun(2, sys.executable, "script.py", *arguments, cwd=folder, timeout=120), folder

    with ThreadPoolExecutor() as side_by_side:
        return dict(zip(JOBS, side_by_side.map(lambda job: run(*job), JOBS.values())))


def test_many_short_waits_are_not_one_long_one(ended):
    job, _ = ended["waits"]
    assert succeeded(job).count("done") == 2


def test_announced_work_may_take_longer_than_a_wait(ended):
    job, folder = ended["works"]
    assert succeeded(job).count("done") == 2
    assert not (folder / "stalled").exists(), "nobody came too late"


def test_a_hang_in_announced_work_is_found_and_named(ended):
    job, folder = ended["hangs"]
    assert job.returncode == 1, job.stderr
    assert job.stderr.count("hvd-ae:") == 1 and "rank 0 of 2 was at writing the pictures for" in job.stderr
    assert "time.sleep" not in job.stderr and (folder / "stalled" / "rank-00000.txt").exists()
