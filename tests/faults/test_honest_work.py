"""What is no stall: many short waits, and work of one rank that was announced; a hang in that work is found all the same."""

import sys

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


def ranks_of(tmp_path, script: str, *arguments: str):
    path = tmp_path / "script.py"
    path.write_text(script)
    return mpirun(2, sys.executable, str(path), *arguments, cwd=tmp_path, timeout=120)


def test_many_short_waits_are_not_one_long_one(tmp_path):
    assert succeeded(ranks_of(tmp_path, MANY_SHORT_WAITS)).count("done") == 2


def test_announced_work_may_take_longer_than_a_wait(tmp_path):
    ended = ranks_of(tmp_path, WORKS, "10", "10", "horovod")
    assert succeeded(ended).count("done") == 2
    assert not (tmp_path / "stalled").exists(), "nobody came too late"


def test_a_hang_in_announced_work_is_found_and_named(tmp_path):
    ended = ranks_of(tmp_path, WORKS, "1000", "2", "mpi")
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("hvd-ae:") == 1 and "rank 0 of 2 was at writing the pictures for" in ended.stderr
    assert "time.sleep" not in ended.stderr and (tmp_path / "stalled" / "rank-00000.txt").exists()
