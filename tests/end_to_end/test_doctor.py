"""`hvd-ae doctor` and `hvd-ae verify` under a real launcher, well and ill."""

import json
import sys

import pytest

from tests.launch import BIN, HVD_AE, mpirun, run, succeeded

CHECKS = {"launcher", "MPI", "Horovod", "hosts", "cores", "GPUs", "all-reduce", "run folder", "clocks", "versions"}


@pytest.mark.parametrize("collectives", ["horovod", "mpi"])
def test_a_healthy_job(tmp_path, collectives):
    said = succeeded(mpirun(2, HVD_AE, "doctor", "--json", "--run-dir", str(tmp_path / "runs"), "--collectives", collectives))
    found = json.loads(said)
    assert {finding["check"] for finding in found} == CHECKS
    assert not [finding for finding in found if finding["level"] == "fault"]
    assert f"through {collectives}" in said
    assert not (tmp_path / "runs").exists(), "what was made to look is gone"


def test_lone_copies_are_a_fault_and_one_copy_says_so():
    environment = {"PMI_SIZE": "4", "PMI_RANK": "0"}
    first = run([HVD_AE, "doctor"], **environment)
    assert first.returncode == 1 and "fault    launcher     PMI_SIZE=4, but MPICH" in first.stdout
    assert "Traceback" not in first.stderr
    other = run([HVD_AE, "doctor"], **{**environment, "PMI_RANK": "3"})
    assert other.returncode == 1 and other.stdout == ""


def test_a_job_that_will_suffer(tmp_path):
    """Both ranks on one core, and a run folder that cannot be."""
    (tmp_path / "file").write_text("")
    ended = run(["taskset", "--cpu-list", "0", str(BIN / "mpirun"), "-np", "2", HVD_AE, "doctor", "--run-dir",
                 str(tmp_path / "file" / "runs")])
    assert ended.returncode == 1
    assert "2 ranks share 1 core" in ended.stdout and "cannot be written (Not a directory)" in ended.stdout


def test_the_laws_hold(tmp_path):
    said = succeeded(mpirun(2, HVD_AE, "verify", "--ways", "gradient,sharded,parameter",
                            "--report", str(tmp_path / "laws.md")))
    report = (tmp_path / "laws.md").read_text()
    assert report.startswith("# All laws hold: 2 ranks on 1 node, collectives horovod")
    assert report.count("| holds |") == said.count("holds ") == 9
    assert [path.name for path in tmp_path.iterdir()] == ["laws.md"]


BREAKS = """
import sys
import tensorflow as tf
from hvd_ae import cli
from hvd_ae.averaging.gradient import Gradient
from hvd_ae.collectives.mpi import MPIEngine

if sys.argv[1] == "sum":  # too small by a tenth, alike on all ranks, and so never out of step
    original = MPIEngine._all_reduce
    MPIEngine._all_reduce = lambda self, vector, operation: original(self, vector, operation) * vector.dtype.type(
        0.9 if vector.dtype.kind == "f" and vector.size > 100 else 1)
else:  # one rank's own, behind the averaging's back
    step = Gradient.step
    def drifting(self, batch):
        loss_sum = step(self, batch)
        if self.collectives.world.rank == 1:
            self.replica.vector.assign(tf.tensor_scatter_nd_add(self.replica.vector, [[7]], [1e-6]))
        return loss_sum
    Gradient.step = drifting
sys.exit(cli.main(["verify", "--ways", "gradient", "--collectives", "mpi", "--report", sys.argv[2]]))
"""


@pytest.mark.parametrize(("broken", "law"), [("sum", "law 1 one large batch"), ("rank", "law 3 same bytes")])
def test_a_broken_law_is_named_with_status_3(tmp_path, broken, law):
    script = tmp_path / "breaks.py"
    script.write_text(BREAKS)
    ended = mpirun(2, sys.executable, str(script), broken, str(tmp_path / "laws.md"))
    assert ended.returncode == 3, ended.stderr
    assert f"BROKEN  {law}" in ended.stdout
    assert "broken: 2 ranks" in (tmp_path / "laws.md").read_text().splitlines()[0]
