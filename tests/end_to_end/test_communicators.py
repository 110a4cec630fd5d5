"""Communicators are given back: MPI has some two thousand, and a sweep in one process trains as often."""

import sys

from tests.launch import mpirun, succeeded

SCRIPT = """
import numpy as np
from pathlib import Path
from hvd_ae.collectives.start import start

collectives = start("mpi", threads=1)
for _ in range(2200):
    with collectives.watched(600, Path("stalled")):
        pass
for number in range(800):  # three communicators each, and now and then a window's and a sum that `free` waits for
    messages, background, group = collectives.messages(), collectives.background(), collectives.split([[0]])
    if number % 100 == 0:
        background.begin(np.ones(10, np.float32))
        collectives.free_beside(collectives.parameter_window(10))
    collectives.free_beside(messages)
    collectives.free_beside(background)
    group.free()
print("calls", collectives.traffic.calls)
"""


def test_none_is_kept(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = succeeded(mpirun(1, sys.executable, str(script), cwd=tmp_path, timeout=120))
    assert "calls 8" in said, "what was freed still counts in the traffic"
