"""`hvd-ae doctor` and `hvd-ae verify` under a real launcher, well and ill; well through Horovod in test_readme.py."""

import json
import sys

import pytest

from tests.launch import BIN, HVD_AE, mpirun, run, succeeded

CHECKS = {"launcher", "MPI", "Horovod", "hosts", "cores", "GPUs", "all-reduce", "run folder", "clocks", "versions"}


def test_a_healthy_job(tmp_path):
    said = succeeded(mpirun(2, HVD_AE, "doctor", "--json", "--run-dir", str(tmp_path / "runs"), "--collectives", "mpi"))
    found = json.loads(said)
    assert {finding["check"] for finding in found} == CHECKS
    assert not [finding for finding in found if finding["level"] == "fault"]
    assert "through mpi" in said
    assert not (tmp_path / "runs").exists(), "what was made to look is gone"


def test_lone_copies_are_a_fault_and_one_copy_says_so():
    environment = {"PMI_SIZE": "4", "PMI_RANK": "0"}
    first = run([HVD_AE, "doctor"], **environment)
    assert first.returncode == 1 and "fault    launcher     PMI_SIZE=4, but MPICH" in first.stdout
    assert "Traceback" not in first.stderr
    other = run([HVD_AE, "doctor"], **{**environment, "PMI_RANK": "3"})
    assert other.returncode == 1 and other.stdout == ""


def test_an_mpi_that_its_launcher_ends_as_it_starts():
    """What MPICH does under srun --mpi=pmix, or under Open MPI's mpirun."""
    ended = run([HVD_AE, "doctor"], PMIX_NAMESPACE="job", PMIX_RANK="0", OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="0")
    assert ended.returncode == 1 and ended.stdout.startswith("fault    launcher     the start of MPICH"), ended.stdout
    assert "OMPI_COMM_WORLD_SIZE=2 ended with status" in ended.stdout and "srun --mpi=pmi2" in ended.stdout


@pytest.mark.parametrize(("package", "limit", "said"), [
    ("horovod", 90, "fault    Horovod      rank 1: does not load (libodd.so: cannot open"),
    pytest.param("mpi4py", 30, "fault    launcher     the start of MPICH", marks=pytest.mark.soak),  # it takes as long
])
def test_a_package_that_one_node_lacks(tmp_path, package, limit, said):
    """The others would wait for that rank."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('libodd.so: cannot open')")
    only_rank_1 = f'if [ "$PMI_RANK" = 1 ]; then export PYTHONPATH={tmp_path}:$PYTHONPATH; fi; exec "$@"'
    ended = mpirun(2, "bash", "-c", only_rank_1, "bash", HVD_AE, "doctor", "--timeout", str(limit),
                   timeout=120)
    assert ended.returncode == 1 and said in ended.stdout, ended.stdout
    if package == "mpi4py":  # there is no way to tell rank 0
        assert "did not end within 30 s" in ended.stdout
        assert "rank 1 on " in ended.stderr and "mpi4py does not load (libodd.so: cannot open)" in ended.stderr


def test_a_job_that_will_suffer(tmp_path):
    """Both ranks on one core, and a run folder that cannot be."""
    (tmp_path / "file").write_text("")
    ended = run(["taskset", "--cpu-list", "0", str(BIN / "mpirun"), "-np", "2", HVD_AE, "doctor", "--run-dir",
                 str(tmp_path / "file" / "runs")])
    assert ended.returncode == 1
    assert "2 ranks share 1 core" in ended.stdout and "cannot be written (Not a directory)" in ended.stdout


def test_a_report_that_cannot_be_is_refused_before_anything_runs(tmp_path):
    ended = run([HVD_AE, "verify", "--report", str(tmp_path)])
    assert ended.returncode == 2 and "cannot be written (Is a directory)" in ended.stderr and not ended.stdout
    assert not list(tmp_path.iterdir())


BREAKS = """
import sys
from unittest.mock import patch
import tensorflow as tf
from hvd_ae import cli
from hvd_ae.averaging.gradient import Gradient
from hvd_ae.collectives.mpi import MPICommunicator
from hvd_ae.commands import verify

ordered_sum, step = MPICommunicator._ordered_sum, Gradient.step

def too_small(self, vector):
    # by a tenth, alike on all ranks, and so never out of sync
    return ordered_sum(self, vector) * vector.dtype.type(0.9 if vector.dtype.kind == "f" and vector.size > 100 else 1)

def drifting(self, batch):
    # on one rank alone, behind the averaging's back
    loss_sum = step(self, batch)
    if self.comm.world.rank == 1:
        self.learner.vector.assign(tf.tensor_scatter_nd_add(self.learner.vector, [[7]], [1e-6]))
    return loss_sum

def verified(report):
    return cli.main(["verify", "--averaging", "gradient", "--collectives", "mpi", "--report", report])

how = sys.argv[1]
with (patch.object(MPICommunicator, "_ordered_sum", too_small if how == "sum" else ordered_sum),
      patch.object(Gradient, "step", drifting if how == "rank" else step),
      patch.object(verify, "save", (lambda *_, **__: None) if how == "sum" else verify.save)):  # what is to be kept is not
    sys.exit(verified(f"{how}.md"))
"""


@pytest.mark.parametrize(("broken", "laws"), [
    ("sum", ["law 1 one large batch", "law 4 resumed"]), pytest.param("rank", ["law 3 same bytes"], marks=pytest.mark.soak)])
def test_broken_laws_are_named_with_status_3(tmp_path, broken, laws):
    script = tmp_path / "breaks.py"
    script.write_text(BREAKS)
    ended = mpirun(2, sys.executable, str(script), broken, cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "broken: 2 ranks" in (tmp_path / f"{broken}.md").read_text().splitlines()[0]
    assert all(f"BROKEN  {law}" in ended.stdout for law in laws), ended.stdout
