"""Ranks killed at random moments, and the job started again with --resume until it is done.

HVD_AE_KILLS says how many times [2]; `make soak` asks for 200.
"""

import json
import os
import random
import sys
import time

import pytest

from tests.launch import HVD_AE, mpirun, ranks_of, started, status_of, succeeded, wait_until

KILLS = int(os.environ.get("HVD_AE_KILLS", "2"))
TRAINING = ["train", "--data", "synthetic:4000x64", "--model", "shallow", "--batch-size", "16", "--resume"]
CASES = {"gradient": ["--collectives", "horovod"],
         "parameter": ["--collectives", "mpi", "--sync-every", "16", "--partition", "label-skew"]}

# the killed run goes on to its end, and one that nobody kills runs beside it, in one job
FINISH = """
import sys
from hvd_ae.cli import main

folder, *command = sys.argv[1:]
sys.exit(main([*command, f"{folder}/killed"]) or main([*command, f"{folder}/whole"]))
"""


@pytest.mark.timeout(600 + 30 * KILLS)
@pytest.mark.parametrize("averaging", ["parameter", pytest.param("gradient", marks=pytest.mark.soak)])
def test_killed_ranks_cost_no_sample(tmp_path, averaging):
    """Data have labels, ranks data of their own; after all kills every epoch is the one of an uninterrupted run."""
    seeded, started_at = random.Random(f"{averaging} {KILLS}"), time.monotonic()
    command = [HVD_AE, *TRAINING, "--averaging", averaging, *CASES[averaging]]
    folder, in_training, in_checkpoint = tmp_path / "killed", 0, 0
    for kill in range(KILLS):
        with started(2, *command, "--epochs", "1000000", "--run-dir", str(folder), log=tmp_path / "log") as job:
            before = length(folder)
            if kill % 5:  # the others while the job starts, or resumes
                wait_until(lambda before=before: length(folder) > before, 90)
            moment = time.monotonic() + seeded.uniform(0.0, 2.0 if kill % 5 else 6.0)
            while time.monotonic() < moment:
                time.sleep(0.002)
            in_training += length(folder) > before
            in_checkpoint += any(folder.glob("checkpoints/*.partial"))
            ranks = ranks_of(job)
            assert ranks and job.poll() is None
            ranks[seeded.randrange(len(ranks))].kill()
            assert status_of(job, tmp_path / "log", 60) != 0
    last = len(folder.joinpath("metrics.jsonl").read_text().splitlines()) + 5
    script = tmp_path / "finish.py"
    script.write_text(FINISH)
    arguments = [*command[1:], "--epochs", str(last), "--run-dir"]
    succeeded(mpirun(2, sys.executable, str(script), str(tmp_path), *arguments, timeout=240 + 10 * KILLS))
    whole, killed = (epochs(tmp_path / name) for name in ("whole", "killed"))
    assert len(whole) == last
    assert [record["samples"] for record in killed] == [3600 * (epoch + 1) for epoch in range(len(whole))]
    assert killed == whole
    assert checksum(folder) == checksum(tmp_path / "whole")
    print(f"{averaging}: {KILLS} kills, {in_training} of them in training, {in_checkpoint} while a checkpoint was written, "
          f"{len(whole)} epochs in {time.monotonic() - started_at:.0f} s: no sample lost or repeated, same final parameters")


def length(folder) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.stat().st_size if metrics.exists() else 0


def epochs(folder) -> list[dict]:
    """What each epoch came to, without what time it took."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = ("epoch", "step", "samples", "train_loss", "val_loss", "val_mse")
    return [{name: record[name] for name in kept} for record in records]


def checksum(folder) -> str:
    return json.loads((folder / "summary.json").read_text())["weights_checksum"]
