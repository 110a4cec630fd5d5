"""One run folder through kills, signals, damage to its files and second jobs, on one to three ranks in turn: nothing that was
good is lost, and nothing that is wrong goes unsaid.

HVD_AE_KILLS says through how many rounds [1], and HVD_AE_SEED by which random numbers [printed at the beginning]. Every job
has the same global batch, so by law 1 each epoch is, to rounding, that of a run on one rank that nothing happened to.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from hvd_ae.cli import main
from tests.damage import damage
from tests.launch import HVD_AE, mpirun, ranks_of, started, status_of, succeeded, wait_until

ROUNDS = int(os.environ.get("HVD_AE_KILLS", "1"))
SEED = int(os.environ.get("HVD_AE_SEED") or (random.randrange(10**6) if ROUNDS > 1 else 0))
GLOBAL_BATCH, SAMPLES = 48, 3600  # 75 steps an epoch, on 1, 2 and 3 ranks
TRAINING = (HVD_AE, "train", "--data", f"synthetic:{SAMPLES * 10 // 9}x64", "--model", "shallow", "--optimizer", "sgd",
            "--learning-rate", "0.5", "--keep-checkpoints", "3", "--resume", "--run-dir")
ENDLESS = 1_000_000  # epochs


def command(folder: Path, ranks: int, epochs: int = ENDLESS) -> list[str]:
    return [*TRAINING, str(folder), "--batch-size", str(GLOBAL_BATCH // ranks), "--epochs", str(epochs),
            *(["--collectives", "mpi"] if ranks > 1 else [])]


def records_of(folder: Path) -> dict[int, dict]:
    """The records of metrics that can be read, by epoch."""
    records = {}
    path = folder / "metrics.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
            records[int(record["epoch"])] = record
        except (ValueError, TypeError, KeyError):
            continue
    return records


def checkpoints_of(folder: Path) -> dict[int, str]:
    """A digest of all that is in each finished checkpoint, by step."""
    return {int(path.name.removeprefix("step-")): digest(path) for path in folder.glob("checkpoints/step-*")
            if path.suffix != ".partial"}


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock"):
        found.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()


class Soaked:
    """The run folder, and what has to be true of it."""

    def __init__(self, place: Path, seeded: random.Random):
        self.folder, self.place, self.seeded = place / "run", place, seeded
        self.number, self.story = 0, []
        self.harmed = set()  # the epochs whose records of metrics were damaged
        self.damaged = set()  # checkpoints as damage has left them: a job may be killed before it says so
        self.counts = dict.fromkeys(("kills", "stops", "damages", "passed over", "refused", "second jobs"), 0)

    def tell(self, what: str, **counted: int) -> None:
        self.story.append(f"{self.number}: {what}")
        for name, more in counted.items():
            self.counts[name.replace("_", " ")] += more

    def one_round(self) -> None:
        self.number += 1
        before, records = self.remember()
        where = self.folder / self.seeded.choice(["checkpoints", "."])
        if self.seeded.random() < 0.7 and any(path.is_file() for path in where.rglob("*")):
            self.tell(damage(self.seeded, where), damages=1)
        now = checkpoints_of(self.folder)
        self.damaged |= now.items() - before.items()
        usable = [step for step, found in now.items() if (step, found) not in self.damaged]
        touched = sorted(now.keys() - set(usable))
        kept = records_of(self.folder)
        self.harmed |= {epoch for epoch, record in records.items() if kept.get(epoch) != record}
        kept = {epoch: record for epoch, record in kept.items() if records.get(epoch) == record}
        ranks, log = self.seeded.randint(1, 3), self.place / f"log-{self.number}"
        untouched = digest(self.folder) if self.folder.exists() else ""
        with started(ranks, *command(self.folder, ranks), log=log) as job:
            if touched and not usable and not self.goes_on(job, log):
                self.refused(job, log, touched, untouched)
                return
            self.ends_somehow(job, log, ranks)
        said = log.read_text()
        assert "Traceback" not in said, said
        self.has_gone_on_rightly(said, usable, touched, kept)

    def remember(self) -> tuple[dict[int, str], dict[int, dict]]:
        """What there is before anything happens to it, and a copy to mend with, where everything else is lost."""
        shutil.rmtree(self.place / "copy", ignore_errors=True)
        if (self.folder / "checkpoints").exists():
            shutil.copytree(self.folder / "checkpoints", self.place / "copy")
        return checkpoints_of(self.folder), records_of(self.folder)

    def goes_on(self, job, log: Path) -> bool:
        """Whether a job does, although every checkpoint was touched: not all damage does harm."""
        wait_until(lambda: job.poll() is not None or "going on from step" in log.read_text(), 120)
        return job.poll() is None

    def refused(self, job, log: Path, touched: list[int], untouched: str) -> None:
        said = log.read_text()
        assert status_of(job, log, 60) == 2, said
        assert said.count("hvd-ae:") == 1 and "Traceback" not in said and "can be used" in said, said
        assert all(f"step-{step:08d}" in said for step in touched), said
        assert digest(self.folder) == untouched, said
        shutil.rmtree(self.folder / "checkpoints")
        shutil.copytree(self.place / "copy", self.folder / "checkpoints")
        self.tell("refused, since no checkpoint could be used", refused=1)

    def ends_somehow(self, job, log: Path, ranks: int) -> None:
        begun, seeded = self.length(), self.seeded
        waits = seeded.random() < 0.8  # else the job is killed while it starts or resumes
        if waits:
            wait_until(lambda: self.length() > begun or job.poll() is not None, 120)
        wait_until(lambda: len(ranks_of(job)) == ranks or job.poll() is not None, 60)
        time.sleep(seeded.uniform(0.0, 1.0 if waits else 5.0))
        assert job.poll() is None, log.read_text()
        if waits and (self.number == ROUNDS == 1 or seeded.random() < 0.2):
            self.a_second_job_is_refused(job, log)
        if waits and seeded.random() < 0.25:
            seeded.choice(ranks_of(job)).send_signal(signal.SIGTERM)
            assert status_of(job, log, 60) == 75, log.read_text()
            assert checkpoints_of(self.folder).keys() >= {int(re.search(r"stopped at step (\d+)", log.read_text())[1])}
            self.tell(f"stopped on {ranks} ranks", stops=1)
        else:
            victims = ranks_of(job)
            for victim in victims if seeded.random() < 0.3 else [seeded.choice(victims)]:
                victim.kill()
            assert status_of(job, log, 60) != 0, log.read_text()
            self.tell(f"killed on {ranks} ranks", kills=1)

    def a_second_job_is_refused(self, job, log: Path) -> None:
        ranks = self.seeded.randint(1, 2)
        root = ranks_of(job)[0].pid
        second = mpirun(ranks, *command(self.folder, ranks), timeout=120)
        said = second.stderr
        assert second.returncode == 2 and said.count("hvd-ae:") == 1, said
        assert f"is being written by process {root} on " in said, said
        begun = self.length()
        wait_until(lambda: self.length() > begun, 60)  # the first goes on
        assert job.poll() is None, log.read_text()
        self.tell("a second job was refused", second_jobs=1)

    def has_gone_on_rightly(self, said: str, usable: list[int], touched: list[int], kept: dict[int, dict]) -> None:
        """From the newest checkpoint that is as it was, or from a newer one that damage did no harm; with its records."""
        assert "starting from nothing" not in said or not (usable or touched), said
        if not (found := re.search(r"going on from step (\d+)", said)):
            return  # killed before that
        step = int(found[1])
        assert step >= max(usable, default=0), said
        passed_over = [bad for bad in touched if bad > step]
        assert all(re.search(rf"passed over a bad checkpoint: .*step-{bad:08d}", said) for bad in passed_over), said
        self.tell(f"went on from {step}, past {passed_over}", passed_over=len(passed_over))
        now = records_of(self.folder)
        assert {epoch: now.get(epoch) for epoch, record in kept.items() if record["step"] <= step} == {
            epoch: record for epoch, record in kept.items() if record["step"] <= step}, said
        lost = [epoch for epoch in range(1, step * GLOBAL_BATCH // SAMPLES + 1) if epoch not in now]
        assert not lost or "metrics.jsonl" in said, (lost, said)

    def length(self) -> int:
        path = self.folder / "metrics.jsonl"
        return len(path.read_bytes().splitlines()) if path.exists() else 0


@pytest.mark.timeout(900 + 60 * ROUNDS)
def test_nothing_good_is_lost_and_nothing_wrong_unsaid(tmp_path):
    print(f"HVD_AE_SEED={SEED} HVD_AE_KILLS={ROUNDS}", flush=True)
    soaked = Soaked(tmp_path, random.Random(SEED))
    began = time.monotonic()
    try:
        for _ in range(ROUNDS):
            soaked.one_round()
        last = max(records_of(soaked.folder), default=0) + 5
        succeeded(mpirun(2, *command(soaked.folder, 2, last), timeout=120 + last))
    except BaseException:
        print("\n".join(soaked.story))
        raise
    assert main(command(tmp_path / "whole", 1, last)[1:]) == 0
    whole, found = records_of(tmp_path / "whole"), records_of(soaked.folder)
    assert whole.keys() == set(range(1, last + 1)) and found.keys() >= whole.keys() - soaked.harmed
    for epoch in sorted(found.keys() - soaked.harmed):
        assert found[epoch]["samples"] == whole[epoch]["samples"] == SAMPLES * epoch
        for name in ("train_loss", "val_loss", "val_mse"):
            assert found[epoch][name] == pytest.approx(whole[epoch][name], rel=1e-3), (epoch, name, soaked.story)
    print(f"{ROUNDS} rounds, {last} epochs in {time.monotonic() - began:.0f} s: {soaked.counts}")
