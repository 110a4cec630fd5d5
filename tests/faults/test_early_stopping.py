"""Runs with early stopping that are killed at random moments end after the same epoch, with the same best model.

HVD_AE_KILLS says how many kills there are altogether [2]; no run is killed more than five times.
"""

import json
import os
import random
import sys
import time

import pytest

from tests.launch import HVD_AE, mpirun, ranks_of, started, status_of, succeeded, wait_until

KILLS = min(int(os.environ.get("HVD_AE_KILLS", "2")), 40)
# so high a rate that the loss soon only wanders; it is lowered on the way
TRAINING = ["train", "--data", "synthetic:1500x48", "--model", "shallow", "--batch-size", "8", "--epochs", "1000", "--resume",
            "--learning-rate", "0.02", "--patience", "7", "--min-delta", "0.00003", "--keep-best", "--collectives", "mpi",
            "--schedule", "plateau", "--decay-epochs", "3", "--decay-factor", "0.5", "--ema", "0.9"]
FINISH = """
import sys
from hvd_ae.cli import main

folders, command = sys.argv[1].split(","), sys.argv[2:]
sys.exit(max(main([*command, "--run-dir", folder]) or 0 for folder in folders))
"""


@pytest.mark.soak
@pytest.mark.timeout(900 + 40 * KILLS)
def test_killed_runs_stop_where_one_that_was_not_does(tmp_path):
    seeded, began, kills = random.Random(KILLS), time.monotonic(), 0
    folders = []
    while kills < KILLS:
        folders.append(tmp_path / f"killed-{len(folders)}")
        for _ in range(min(5, KILLS - kills)):
            if not killed(folders[-1], seeded, tmp_path / "log"):
                break
            kills += 1
    script, all_of_them = tmp_path / "finish.py", [*folders, tmp_path / "whole"]
    script.write_text(FINISH)
    succeeded(mpirun(2, sys.executable, str(script), ",".join(map(str, all_of_them)), *TRAINING, timeout=600 + 20 * KILLS))
    *found, whole = map(outcome, all_of_them)
    assert whole["stop_reason"].startswith("val_loss has not fallen for 7 epochs") and whole["epochs"] > 10
    assert 1 < whole["best_epoch"] <= whole["epochs"]
    for each in found:
        assert each == whole
    best = tmp_path / "whole/best"
    for folder in folders:
        assert [path.name for path in (folder / "best").iterdir()] == [path.name for path in best.iterdir()]
    print(f"{kills} kills of {len(folders)} runs, which all stopped after epoch {whole['epochs']}, the best being epoch "
          f"{whole['best_epoch']}; {time.monotonic() - began:.0f} s")


def killed(folder, seeded, log) -> bool:
    """Start a run, or go on with it, and kill a rank at some moment; False where it has come to its end before."""
    with started(2, HVD_AE, *TRAINING, "--run-dir", str(folder), log=log) as job:
        before = length(folder)
        wait_until(lambda: length(folder) > before or job.poll() is not None, 120)
        moment = time.monotonic() + seeded.uniform(0.0, 1.5)
        while time.monotonic() < moment and job.poll() is None:
            time.sleep(0.002)
        ranks = ranks_of(job)
        if job.poll() is not None or not ranks:
            assert status_of(job, log, 60) == 0, log.read_text()[-3000:]
            return False
        ranks[seeded.randrange(len(ranks))].kill()
        status_of(job, log, 60)
        return True


def length(folder) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.stat().st_size if metrics.exists() else 0


def outcome(folder) -> dict:
    summary = json.loads((folder / "summary.json").read_text())
    return {name: summary[name] for name in ("stop_reason", "epochs", "steps", "samples", "best_epoch", "val_loss",
                                             "weights_checksum")}
