"""What the doctor makes of the ranks' facts: each check once well and once ill."""

import pytest

from hvd_ae.doctor import ranks
from hvd_ae.doctor.findings import fault, ok, warning, worst
from hvd_ae.world import Launch

MPICH = {"size": 2, "rank": 0, "threads": "MULTIPLE", "library": "MPICH 5.0.2", "files": ["/a/libmpi.so.12"]}
OPEN_MPI = {**MPICH, "library": "Open MPI v5.0.1", "size": 1}
HOROVOD = {"built_with": ["MPI"], "files": ["/a/libmpi.so.12"]}


def rank(number, **changes):
    return {"rank": number, "local_rank": number, "node": 0, "host": "a", "cores": [0, 1, 2, 3], "gpus": 0,
            "versions": {"python": "3.11", "numpy": "2.4"}, **changes}


@pytest.mark.parametrize(("launch", "mpi", "level", "says"), [
    (Launch("PMI_SIZE", 2), MPICH, "ok", "MPI sees 2"),
    (Launch(), {**MPICH, "size": 1}, "ok", "one process"),
    (Launch("SLURM_STEP_NUM_TASKS", 4), {**MPICH, "size": 1}, "fault", "--mpi=pmi2"),
    (Launch("SLURM_STEP_NUM_TASKS", 4), OPEN_MPI, "fault", "--mpi=pmix"),
])
def test_launcher(launch, mpi, level, says):
    finding = ranks.check_launcher(launch, mpi)
    assert finding.level == level and says in finding.line()


@pytest.mark.parametrize(("found", "level", "says"), [
    (ranks.check_mpi(MPICH), "ok", "MPI_THREAD_MULTIPLE"),
    (ranks.check_mpi({**MPICH, "threads": "FUNNELED"}), "fault", "FUNNELED"),
    (ranks.check_mpi({**MPICH, "files": ["/a/libmpi.so.12", "/b/libmpi.so.40"]}), "fault", "two MPIs"),
    (ranks.check_horovod(HOROVOD, MPICH, 0), "ok", "built with MPI"),
    (ranks.check_horovod(None, MPICH, 0), "warning", "install-horovod"),
    (ranks.check_horovod({"error": "no such symbol"}, MPICH, 0), "fault", "no such symbol"),
    (ranks.check_horovod({**HOROVOD, "files": ["/b/libmpi.so.40"]}, MPICH, 0), "fault", "another MPI"),
    (ranks.check_horovod(HOROVOD, MPICH, 2), "warning", "--gpu"),
    (ranks.check_hosts([rank(0), rank(1, host="b")]), "ok", "a: 1 rank, b: 1 rank"),
    (ranks.check_hosts([rank(0), rank(1), rank(2, host="b")]), "warning", "fewer cores"),
    (ranks.check_gpus([rank(0), rank(1)]), "ok", "CPUs"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1, gpus=2)]), "ok", "2 seen"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1, gpus=2), rank(2, gpus=2)]), "fault", "rank 2"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1)]), "warning", "different"),
])
def test_one_finding(found, level, says):
    assert found.level == level and says in found.line()


@pytest.mark.parametrize(("found", "level", "says"), [
    (ranks.check_cores([rank(0), rank(1)]), "ok", "2 threads a rank, cores of rank 0: 0-3"),
    (ranks.check_cores([rank(0, cores=[0]), rank(1, cores=[0])]), "warning", "2 ranks share 1 core"),
    (ranks.check_cores([rank(0, cores=[0, 2]), rank(1, cores=[1])]), "ok", "1 to 2 threads a rank"),
    (ranks.check_versions([rank(0), rank(1)]), "ok", "numpy 2.4"),
    (ranks.check_versions([rank(0), rank(1, versions={"numpy": "1"})]), "fault", "rank 1"),
])
def test_several_findings(found, level, says):
    assert worst(found) == level and any(says in finding.line() for finding in found)


def test_the_worst_counts():
    assert worst([]) == "ok" and worst([ok("a", "b"), warning("a", "b", "c"), ok("a", "b")]) == "warning"
    assert worst([fault("a", "b", "c"), warning("a", "b", "c")]) == "fault"
