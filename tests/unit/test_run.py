"""`hvd-ae run`: when it starts the ranks again, on which machines, and when it gives up; its launcher is a small program."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hvd_ae.cli import main, parse_command
from hvd_ae.commands.run.hosts import Hosts
from hvd_ae.commands.run.run import is_loss
from hvd_ae.errors import Refused
from hvd_ae.runtime.failure import is_of_a_lost_rank

# Notes how it was called, does the next of what it is told (a checkpoint's step, an exit status), or waits for a signal.
LAUNCHER = '''
import json, os, pathlib, signal, sys, time
place = pathlib.Path(__file__).parent
if "--version" in sys.argv:
    raise SystemExit(print("HYDRA build details"))
with open(place / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
tale = json.loads((place / "tale").read_text())
step, status = tale.pop(0)
(place / "tale").write_text(json.dumps(tale))
if step:
    (place / f"run/checkpoints/step-{step:08d}").mkdir(parents=True)
if status == 0 and step != 7:
    (place / "run/summary.json").write_text("{}")
if status == "waits":
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    (place / "waits").touch()
    time.sleep(30)
sys.exit(status)
'''


@pytest.fixture
def told(tmp_path):
    """A function: what each start does, and options of `run`; gives the command."""
    (tmp_path / "launcher.py").write_text(LAUNCHER)

    def command(tale: list, *options: str) -> list[str]:
        (tmp_path / "tale").write_text(json.dumps(tale))
        return ["run", "-np", "3", "--launcher", f"{sys.executable} {tmp_path}/launcher.py", *options, "--",
                "train", "--run-dir", f"{tmp_path}/run", "--batch-size", "8"]

    return command


def calls(place) -> list[list[str]]:
    return [json.loads(line) for line in (place / "calls").read_text().splitlines()]


@pytest.fixture(autouse=True)
def signals_as_they_were():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("tale", "options", "status", "starts"), [
    ([(5, 9), (0, 137), (7, 76), (9, 0)], (), 0, 4),  # killed, before a checkpoint too, and silent
    ([(7, 0), (8, 0)], (), 0, 2),  # it said 0, and has written no summary
    ([(5, 9), (0, 9), (0, 9), (9, 0)], (), 76, 3),  # two in a row gained nothing
    ([(5, 9), (6, 9), (7, 9), (8, 0)], ("--restarts", "2"), 76, 3),
    *[([(6, status)], (), status, 1) for status in (0, 1, 2, 3, 75)],  # the command's own
])
def test_what_is_started_again_and_how_often(told, tmp_path, capfd, tale, options, status, starts):
    assert main(told(tale, *options)) == status
    made = calls(tmp_path)
    assert len(made) == starts
    given = ["-n", "3", sys.executable, "-m", "hvd_ae", "train", "--run-dir", f"{tmp_path}/run", "--batch-size", "8"]
    assert made == [given, *[[*given, "--resume", "--as-ranks", "3"]] * (starts - 1)]
    assert capfd.readouterr().err.count("a rank was lost") == starts - (status not in (76,))


def test_a_signal_is_passed_on_and_is_no_loss(told, tmp_path):
    job = subprocess.Popen([sys.executable, "-m", "hvd_ae", *told([(5, "waits"), (0, 0)])], env={**os.environ})
    deadline = time.monotonic() + 30
    while not (tmp_path / "waits").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 75 and len(calls(tmp_path)) == 1


def test_a_machine_that_gives_no_answer_is_left_out_comes_back_and_is_left_out_for_good(told, tmp_path, monkeypatch):
    """Three machines of two ranks for three ranks; `ssh` is a program that looks into a file."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nfor host; do :; done\nshift $(($# - 2)); ! grep -qx \"$1\" {tmp_path}/down\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("HYDRA_LAUNCHER_EXEC", str(ssh))
    hosts, seen = Hosts("a:2,b:2,c:1", 3), []
    for down in ("", "a", "", "a b", "", "a b c"):
        (tmp_path / "down").write_text("\n".join(down.split()) or "nobody")
        if down == "a b c":
            with pytest.raises(Refused, match="none of a, b, c answers"):
                hosts.look()
            break
        hosts.look()
        seen.append((hosts.ranks, hosts.options("hydra")[1]))
    assert seen == [(3, "a:2,b:2,c:1"), (3, "b:2,c:1"), (3, "a:2,b:2,c:1"), (1, "c:1"), (3, "b:2,c:1")]
    assert hosts.options("openmpi")[0] == "--host" and Hosts(None, 3).options("hydra") == []


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["run", "-np", "2", "--", "reconstruct", "x"], "is nothing that goes on where it was: write hvd-ae run -np 4 -- train"),
    (["run", "-np", "2", "--", "train", "--epochs", "0"], "epochs=0 must be at least 1"),
    (["run", "-np", "2", "--hosts", "a b", "--", "train"], "write for instance --hosts a:4,b:4"),
    (["run", "-np", "3", "--hosts", "a:2", "--", "train"], "take 2 ranks, and np=3"),
    (["run", "-np", "2", "--launcher", "/nowhere/mpirun", "--", "train"], "cannot be started: install an MPI"),
    (["run", "-np", "0", "--", "train"], "np=0 must be at least 1"),
])
def test_what_cannot_be_run_is_refused_before_anything_starts(arguments, sentence, capsys):
    assert main(arguments) == 2 and sentence in capsys.readouterr().err


def test_what_follows_the_hyphens_is_the_commands_own():
    _, settings = parse_command(["run", "-np", "2", "--", "train", "--data", "a b.npy", "--resume"])
    assert (settings.np, settings.command) == (2, "train --data 'a b.npy' --resume")


def test_losses_are_told_from_failures():
    assert [is_loss(status) for status in (0, 1, 2, 3, 75, 9, 137, 139, 15, 143, 76, 134)] == [False] * 5 + [True] * 7


@pytest.mark.parametrize(("error", "is_lost"), [
    (RuntimeError("HorovodAllreduce failed: Horovod has been shut down. This was caused by an exception"), True),
    (RuntimeError("mpi4py.MPI.Exception: MPI_ERR_OTHER: known error not in list"), True),
    (ConnectionResetError(104, "Connection reset by peer"), True),
    (RuntimeError("MPI_ERR_TRUNCATE: message truncated"), False), (ValueError("a model's own"), False)])
def test_what_a_collective_raises_where_a_rank_has_gone_is_known(error, is_lost):
    assert is_of_a_lost_rank(error) is is_lost
