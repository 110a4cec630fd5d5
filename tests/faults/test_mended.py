"""`hvd-ae run` through failures of ranks and machines: it goes on by itself, on those that are left, and to the same end.

HVD_AE_FAILURES says through how many [2]. Machines are simulated on this one: `ssh` is a program that runs the command here,
or gives no answer where a file says that the machine is down.
"""

import json
import os
import random
import re
import signal
import statistics
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from hvd_ae.cli import main
from tests.launch import ENVIRONMENT, HVD_AE, ranks_of, status_of, wait_until

FAILURES = int(os.environ.get("HVD_AE_FAILURES", "2"))
SAMPLES, GLOBAL_BATCH, STALL = 3600, 48, 15
TRAINING = ["train", "--data", f"synthetic:{SAMPLES * 10 // 9}x64", "--model", "shallow", "--optimizer", "sgd",
            "--learning-rate", "0.5", "--stall-timeout", str(STALL)]
SSH = '''#!/bin/sh
while :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done
grep -qx "$1" {place}/down && exit 255
machine=$1; shift
exec env MACHINE="$machine" sh -c "$*"
'''


class Machines:
    """Two machines of one rank each, n0 and n1, and the job on them."""

    def __init__(self, place):
        self.place, self.folder, self.log = place, place / "run", place / "log"
        ssh = place / "ssh"
        ssh.write_text(SSH.format(place=place))
        ssh.chmod(0o755)
        self.down("")

    def down(self, names: str) -> None:
        (self.place / "down").write_text(f"{names}\n")

    @contextmanager
    def job(self, epochs: int):
        command = [HVD_AE, "run", "-np", "2", "--hosts", "n0:1,n1:1", "--restarts", "1000", "--", *TRAINING, "--batch-size",
                   str(GLOBAL_BATCH // 2), "--epochs", str(epochs), "--run-dir", str(self.folder), "--collectives", "mpi"]
        with open(self.log, "a") as said:
            job = psutil.Popen(command, stdout=said, stderr=said, start_new_session=True,
                               env={**ENVIRONMENT, "HYDRA_LAUNCHER_EXEC": str(self.place / "ssh")})
        try:
            yield job
        finally:
            if job.is_running():
                for process in [job, *job.children(recursive=True)]:
                    process.kill()
                job.wait()

    def records(self) -> list[dict]:
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def of_machine(self, job, name: str) -> list[psutil.Process]:
        """What runs there."""
        found = []
        for process in job.children(recursive=True):
            try:
                if process.environ().get("MACHINE") == name:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def fail(self, job, how: str, seeded: random.Random) -> None:
        ranks = ranks_of(job)
        victim = seeded.choice(ranks)
        if how == "machine killed":
            self.down("n1")
            for process in self.of_machine(job, "n1"):
                process.kill()
        else:
            victim.send_signal({"rank killed": signal.SIGKILL, "rank stopped": signal.SIGSTOP}[how])

    def starts(self) -> int:
        return len(re.findall("going on from step|starting from nothing|global batch", self.log.read_text()))


@pytest.mark.timeout(600 + 60 * FAILURES)
def test_a_job_mends_itself(tmp_path):
    """A machine that dies, and a rank that is killed when the machine is back; in longer shows ranks that stop, too."""
    seeded, lost, began = random.Random(FAILURES), [], time.monotonic()
    machines, hows, counts = Machines(tmp_path), ["machine killed", "rank killed", "rank killed", "rank stopped"], {}
    with machines.job(1_000_000) as job:
        for failure in range(FAILURES):
            before = machines.records()
            wait_until(lambda before=before: len(machines.records()) > len(before) or job.poll() is not None, 120)
            time.sleep(seeded.uniform(0.0, 1.0))
            assert job.poll() is None, machines.log.read_text()[-3000:]
            how = hows[failure % len(hows)]
            counts[how] = counts.get(how, 0) + 1
            reached, failed = len(machines.records()), time.monotonic()
            machines.fail(job, how, seeded)
            wait_until(lambda reached=reached: len(machines.records()) > reached + 1 or job.poll() is not None, 180)
            lost.append(time.monotonic() - failed)
            if how == "machine killed":
                assert machines.records()[-1]["epoch"] and "1 rank" in machines.log.read_text()
            machines.down("")
        last = len(machines.records()) + 2
        ranks_of(job)[0].kill()
        wait_until(lambda: len(machines.records()) > last or job.poll() is not None, 120)
        job.send_signal(signal.SIGTERM)
        assert status_of(job, machines.log, 60) == 75
    said = machines.log.read_text()
    assert said.count("a rank was lost") == FAILURES + 1, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    last = len(machines.records())
    whole = tmp_path / "whole"
    assert main([*TRAINING, "--batch-size", str(GLOBAL_BATCH), "--epochs", str(last), "--run-dir", str(whole)]) == 0
    expected = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    for found, record in zip(machines.records(), expected, strict=True):
        assert found["samples"] == record["samples"] == SAMPLES * record["epoch"]
        for name in ("train_loss", "val_loss", "val_mse"):
            assert found[name] == pytest.approx(record[name], rel=1e-3), (name, found["epoch"])
    print(f"{FAILURES} failures ({counts}), {last} epochs in {time.monotonic() - began:.0f} s; from a failure to the end of "
          f"the second epoch after it {statistics.median(lost):.1f} s (median), {max(lost):.1f} s (longest)", file=sys.stderr)
