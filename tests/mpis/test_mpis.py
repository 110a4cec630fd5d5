"""Each MPI: found, built for, looked at, proved and trained on, by every launcher that fits; and jobs that end badly.

`make test-mpis` runs it, outside `make test`: Horovod is built five times. `-k openmpi-5` tries one of them.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import psutil
import pytest

from hvd_ae.commands.run.run import is_loss
from tests.launch import ENVIRONMENT, status_of, succeeded, wait_until
from tests.mpis.environments import ROOT

TRAINING = ["hvd-ae", "train", "--model", "shallow", "--threads", "1"]
ENDLESS = [*TRAINING, "--data", "synthetic:4000x64", "--epochs", "1000000", "--stall-timeout", "12"]


@pytest.fixture(scope="session")
def built(mpi):
    """The same environment, with Horovod."""
    said = succeeded(mpi.command("hvd-ae", "install-horovod", timeout=1500))
    assert f" and {mpi.kind.says}" in said.splitlines()[0] and "started by" in said, said
    assert "two ranks agree" in said, said
    return mpi


def summary(folder) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_doctor(built, tmp_path):
    said = built.command("mpirun", "-np", "2", "hvd-ae", "doctor", "--run-dir", str(tmp_path))
    assert "MPI sees 2" in said.stdout and "\nfault" not in said.stdout, said.stdout + said.stderr
    print(said.stdout)


@pytest.mark.parametrize(("ranks", "engine"), [(2, "horovod"), (3, "mpi")])
def test_verify(built, tmp_path, ranks, engine):
    succeeded(built.command("mpirun", "-np", str(ranks), "hvd-ae", "verify", "--collectives", engine, timeout=600,
                            cwd=tmp_path))


@pytest.mark.parametrize("engine", ["horovod", "mpi"])
@pytest.mark.parametrize("launcher", ["mpirun -np 2", "mpirun -np 3", "horovodrun -np 2"])
def test_train(built, tmp_path, launcher, engine):
    succeeded(built.command(*launcher.split(), *TRAINING, "--epochs", "3", "--collectives", engine, "--run-dir",
                            str(tmp_path / "run")))
    found = summary(tmp_path / "run")
    assert (found["ranks"], found["collectives"], found["in_sync"]) == (int(launcher[-1]), engine, True)


@pytest.mark.parametrize("engine", ["horovod", "mpi"])
def test_train_with_srun(built, slurm, tmp_path, engine):
    """By the manager that fits, on two nodes."""
    for manager in built.kind.managers:
        job = slurm.submit(tmp_path, "train.sbatch", *TRAINING[2:], "--epochs", "3", "--collectives", engine,
                           **{**built.variables, "HVD_AE_VENV": str(built.folder), "HVD_AE_SRUN_MPI": manager,
                              "PATH": f"{built.variables['PATH']}:{os.environ['PATH']}"}).succeeded(150)
        assert "2 ranks on 2 nodes" in job.output and job.summary()["in_sync"], job.output


@contextlib.contextmanager
def training(built, folder, engine: str):
    """A job on three ranks, once it has trained an epoch."""
    with open(folder / "log", "a") as said:
        job = psutil.Popen(["mpirun", "-np", "3", *ENDLESS, "--collectives", engine, "--run-dir", str(folder / "run")],
                           stdout=said, stderr=said, stdin=subprocess.DEVNULL, start_new_session=True,
                           env={**ENVIRONMENT, **built.variables})
    try:
        wait_until(lambda: (folder / "run" / "metrics.jsonl").exists() or job.poll() is not None, 120)
        assert job.poll() is None, (folder / "log").read_text()
        yield job
    finally:
        for process in [job, *job.children(recursive=True)] if job.is_running() else []:
            process.kill()
        job.wait()


def rank(job, number: int) -> psutil.Process:
    """The first process of this rank, which its launcher has told it."""
    for process in sorted(job.children(recursive=True), key=lambda process: process.pid):
        with contextlib.suppress(psutil.Error):  # one that has just ended
            given = process.environ()
            if given.get("OMPI_COMM_WORLD_RANK", given.get("PMI_RANK")) == str(number):
                return process
    raise AssertionError(f"there is no rank {number}")


@pytest.mark.parametrize("engine", ["horovod", "mpi"])
def test_how_jobs_end(built, tmp_path, engine):
    """A rank that is killed, one that stops, and a signal; the exit statuses are those that `hvd-ae run` understands."""
    ends = {}
    for how in ("killed", "stopped", "signalled"):
        folder = tmp_path / how
        folder.mkdir()
        with training(built, folder, engine) as job:
            began = time.monotonic()
            if how == "signalled":
                job.send_signal(signal.SIGTERM)
            else:
                rank(job, 1).send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            status = status_of(job, folder / "log", 90)
            ends[how] = status, round(time.monotonic() - began, 1)
        said = (folder / "log").read_text()
        assert how != "stopped" or "rank 1 of 3 gave no answer" in said, said
        assert status == 75 if how == "signalled" else is_loss(status), (how, status, said)
    note(built, f"ends, {engine}", ends)


def test_a_job_that_lost_a_rank_goes_on_by_itself(built, tmp_path):
    command = ["hvd-ae", "run", "-np", "2", "--", *TRAINING[1:], "--data", "synthetic:4000x64", "--epochs", "300", "--run-dir",
               str(tmp_path / "run")]
    with open(tmp_path / "log", "w") as said:
        job = psutil.Popen(command, stdout=said, stderr=said, env={**ENVIRONMENT, **built.variables}, start_new_session=True)
    try:
        wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists() or job.poll() is not None, 120)
        rank(job, 1).kill()
        assert status_of(job, tmp_path / "log", 200) == 0
    finally:
        for process in [job, *job.children(recursive=True)] if job.is_running() else []:
            process.kill()
    said = (tmp_path / "log").read_text()
    assert said.count("a rank was lost") == 1 and summary(tmp_path / "run")["epochs"] == 300, said


@pytest.mark.parametrize("engine", ["horovod", "mpi"])
def test_speed(built, engine):
    """Nothing is asked for: the numbers are for docs/mpis.md, measured on a machine with nothing else to do."""
    said = succeeded(built.command("mpirun", "-np", "2", str(built.bin / "python"), str(ROOT / "tests" / "mpis" / "speed.py"),
                                   engine, PYTHONPATH=str(ROOT)))
    note(built, f"speed, {engine}", json.loads(re.search(r"milliseconds (\{.*\})", said)[1]))


def note(built, what: str, found) -> None:
    """A line for the table, also into a file of the folder of environments."""
    line = json.dumps({"mpi": built.name, "what": what, "found": found})
    with open(built.folder.parent / "found.jsonl", "a") as file:
        file.write(line + "\n")
    print(line)
