"""Communicators are given back: MPI has some two thousand, and a sweep in one process trains as often."""

import sys

from tests.launch import mpirun, succeeded

SCRIPT = """
import contextlib
import numpy as np
from pathlib import Path
from hvd_ae.collectives.start import start
from hvd_ae.errors import Stopped

comm = start("mpi", threads=1)
for is_stopped in [False] * 2200 + [True] * 2200:  # each more than there are
    with contextlib.suppress(Stopped), comm.watched(600, Path("stalled")):
        if is_stopped:
            raise Stopped("on all ranks")
for number in range(800):  # three communicators each, and now and then a window's and a sum that `free` waits for
    messages, background, group = comm.point_to_point(), comm.async_sum(), comm.split([[0]])
    if number % 100 == 0:
        background.begin(np.ones(10, np.float32))
        comm.free_beside(comm.parameter_window(10))
    comm.free_beside(messages)
    comm.free_beside(background)
    group.free()
print("calls", comm.traffic.calls)
"""


def test_none_is_kept(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = succeeded(mpirun(1, sys.executable, str(script), cwd=tmp_path, timeout=120))
    assert "calls 8" in said, "what was freed still counts in the traffic"
