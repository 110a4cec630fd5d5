"""What the doctor makes of the ranks' facts: each check once well and once ill; and that it always says something."""

import faulthandler
import json
import os
import signal
import time

import pytest

from hvd_ae.commands.doctor import measured, ranks
from hvd_ae.commands.doctor.doctor import _from_facts
from hvd_ae.commands.doctor.findings import fault, of_the_worst_rank, ok, warning, worst
from hvd_ae.commands.doctor.supervisor import Report, supervised
from hvd_ae.runtime.world import Launch

MPICH = {"size": 2, "rank": 0, "threads": "MULTIPLE", "library": "MPICH 5.0.2", "files": ["/a/libmpi.so.12"]}
OPEN_MPI = {**MPICH, "library": "Open MPI v5.0.1", "size": 1}
HOROVOD = {"built_with": ["MPI"], "files": ["/a/libmpi.so.12"]}
WITH_NCCL = {**HOROVOD, "built_with": ["MPI", "NCCL 2.28.3"]}


def rank(number, **changes):
    return {"rank": number, "local_rank": number, "node": 0, "host": "a", "cores": [0, 1, 2, 3], "gpus": 0,
            "gpus_of_driver": changes.get("gpus", 0),
            "gpu_name": "NVIDIA H100 with 80 GiB" if changes.get("gpus") else "",
            "gpu_uuid": f"a{number}" if changes.get("gpus") else "", "gpu_libraries_missing": [],
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
    (ranks.check_horovod(WITH_NCCL, MPICH, 2), "ok", "NCCL 2.28.3"),
    (ranks.check_hosts([rank(0), rank(1, host="b")]), "ok", "a: 1 rank, b: 1 rank"),
    (ranks.check_hosts([rank(0), rank(1), rank(2, host="b")]), "warning", "fewer cores"),
    (ranks.check_gpus([rank(0), rank(1)]), "ok", "CPUs"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1, gpus=2)]), "ok", "2 seen"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1, gpus=2), rank(2, gpus=2)]), "fault", "rank 2"),
    (ranks.check_gpus([rank(0, gpus=2), rank(1)]), "warning", "different"),
    (ranks.check_gpus([rank(0, gpus=1)]), "ok", "1 seen by each rank, taken by local rank; NVIDIA H100 with 80 GiB"),
    (ranks.check_gpus([rank(0, gpus_of_driver=1, gpu_name="NVIDIA H100", gpu_libraries_missing=["libcudnn.so.9"])]), "warning",
     "TensorFlow uses none: it does not find libcudnn.so.9"),
    (ranks.check_gpus([rank(0, gpus_of_driver=1)]), "warning", "hvd_ae[gpu]"),
    (ranks.check_gpus([rank(0, gpus=1, gpu_uuid="x"), rank(1, gpus=1, gpu_uuid="x")]), "ok", "ranks 0, 1 share one NVIDIA"),
    (ranks.check_gpus([rank(0, gpus=1, gpu_uuid="x", horovod=WITH_NCCL), rank(1, gpus=1, gpu_uuid="x", horovod=WITH_NCCL)]),
     "warning", "--collectives mpi"),
])
def test_one_finding(found, level, says):
    assert found.level == level and says in found.line()


@pytest.mark.parametrize(("found", "level", "says"), [
    (ranks.check_cores([rank(0), rank(1)]), "ok", "2 threads a rank, cores of rank 0: 0-3"),
    (ranks.check_cores([rank(0, cores=[0]), rank(1, cores=[0])]), "warning", "2 ranks share 1 core"),
    (ranks.check_cores([rank(0, cores=[0, 2]), rank(1, cores=[1])]), "ok", "1 to 2 threads a rank"),
    (ranks.check_cores([rank(0, cores=[0]), rank(1, cores=[0]), rank(2, cores=[1]), rank(3, cores=[2, 3])]), "warning",
     "2 ranks share 1 core of a (0, 1)"),
    (ranks.check_cores([rank(0, cores=[0]), rank(1)]), "warning", "1 rank shares 1 core of a (0)"),
    (ranks.check_versions([rank(0), rank(1)]), "ok", "numpy 2.4"),
    (ranks.check_versions([rank(0), rank(1, versions={"numpy": "1"})]), "fault", "rank 1"),
])
def test_several_findings(found, level, says):
    assert worst(found) == level and any(says in finding.line() for finding in found)


def test_the_worst_counts():
    assert worst([]) == "ok" and worst([ok("a", "b"), warning("a", "b", "c"), ok("a", "b")]) == "warning"
    assert worst([fault("a", "b", "c"), warning("a", "b", "c")]) == "fault"


def test_the_worst_rank_speaks_for_all_and_is_named():
    well, ill = ok("a", "b"), fault("a", "no such file", "c")
    assert of_the_worst_rank([well, well]) == well and of_the_worst_rank([ill, ill]) == ill
    assert of_the_worst_rank([well, ill, well, ill]).seen == "ranks 1, 3: no such file"


def test_a_check_that_raises_is_a_fault_and_the_others_go_on():
    whole = [{**rank(number), "mpi": MPICH, "horovod": HOROVOD} for number in range(2)]
    assert worst(_from_facts(whole, MPICH)) == "ok"
    del whole[1]["host"]
    found = {finding.check: finding for finding in _from_facts(whole, MPICH)}
    assert found["hosts"].level == "fault" and "KeyError: 'host'" in found["hosts"].seen
    assert {found[check].level for check in ("MPI", "Horovod", "cores", "GPUs", "versions")} == {"ok"}
    [found] = _from_facts([whole[0], {"rank": 1, "error": "no /proc on b"}], MPICH)
    assert found.level == "fault" and "rank 1: no /proc on b" in found.seen


def test_a_folder_into_which_others_have_written_stays(tmp_path):
    outer, inner = tmp_path / "runs", tmp_path / "runs" / "mine"
    inner.mkdir(parents=True)
    (inner / "own").write_text("")
    (outer / "of another job").write_text("")
    measured._clean_up([inner / "own", inner / "never was"], [inner, outer])
    assert not inner.exists() and (outer / "of another job").exists()


def forever(tell):
    tell.doing("all-reduce", "a sum", "look at the network")
    time.sleep(60)


def ends_with(status):
    def look(tell):
        tell.found(ok("launcher", "well"))
        tell.doing("MPI", "its start", "take another")
        os._exit(status)  # as MPI_Abort does
    return look


def crashes(tell):
    tell.doing("Horovod", "its import", "build it again")
    faulthandler.disable()  # pytest's, which would print this very stack
    os.kill(os.getpid(), signal.SIGSEGV)


def finds(*findings):
    def look(tell):
        tell.found(*findings)
        tell.over()
        os._exit(0)
    return look


@pytest.mark.parametrize(("look", "status", "last"), [
    (finds(ok("a", "b"), warning("c", "d", "e")), 0, {"level": "warning", "check": "c", "seen": "d", "remedy": "e"}),
    (finds(fault("a", "b", "c"), ok("d", "e")), 1, {"level": "ok", "check": "d", "seen": "e", "remedy": ""}),
    (ends_with(16), 1, {"level": "fault", "check": "MPI", "seen": "its start ended with status 16", "remedy": "take another"}),
    (crashes, 1, {"level": "fault", "check": "Horovod", "seen": "its import ended with SIGSEGV", "remedy": "build it again"}),
    (forever, 1, {"level": "fault", "check": "all-reduce", "seen": "a sum did not end within 0.5 s",
                  "remedy": "look at the network"}),
])
def test_something_is_always_said(capfd, look, status, last):
    assert supervised(look, Report(as_json=True, launch=Launch()), timeout=0.5) == status
    assert json.loads(capfd.readouterr().out)[-1] == last


def test_of_the_other_ranks_only_what_is_theirs_alone_is_said(capfd, monkeypatch):
    monkeypatch.setattr("hvd_ae.commands.doctor.supervisor._LATER", 0.1)
    second = Launch("PMI_SIZE", 2, 1)
    assert supervised(ends_with(16), Report(as_json=False, launch=second), timeout=5) == 1  # the root's did so too
    assert capfd.readouterr() == ("", "")
    assert supervised(crashes, Report(as_json=False, launch=second), timeout=5) == 1
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith("rank 1 on ") and "Horovod      its import ended with SIGSEGV" in said.err
