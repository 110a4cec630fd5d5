"""A value that cannot be trained on, in a sample that is not looked at before the first step: found as it comes."""

import json
import sys

import numpy as np

from hvd_ae.data.epoch_plan import plan_epoch
from hvd_ae.data.partition import Partition
from hvd_ae.runtime.world import World
from tests.launch import mpirun, succeeded

SAMPLES, BATCH, SEED, SHAPE = 300, 6, 3, (4, 5)
TRAINED = 270  # of these samples, the others being kept for validation
STOPPED = 10  # of 23 steps of two ranks

# Twice in one job: to a checkpoint in the middle of the first epoch, and from there on.
TRAINS = f"""
import sys
from hvd_ae.cli import main
from hvd_ae.data import checks

checks._BYTES_LOOKED_AT = 8 * {4 * np.prod(SHAPE)}  # eight samples of each rank
folder, *last = sys.argv[1:]
command = ["train", "--data", f"{{folder}}/x.npy", "--model", "shallow", "--batch-size", "{BATCH}", "--seed", "{SEED}",
           "--epochs", "2", "--collectives", "mpi", "--run-dir"]
for words in last:
    status = main([*command, *words.split()])
    if status:
        sys.exit(status)
"""


def trained(folder, *last: str):
    """Trainings in one job, one after the other, until one fails."""
    script = folder / "trains.py"
    script.write_text(TRAINS)
    return mpirun(2, sys.executable, str(script), str(folder), *last)




def test_a_bad_value_ends_the_job_when_it_comes_and_costs_no_checkpoint(tmp_path):
    """One number of the last rank's last sample; mended, the run goes on as if nothing had happened."""
    values = np.random.default_rng(0).uniform(size=(SAMPLES, *SHAPE)).astype(np.float32)
    late = int(plan_epoch(Partition("reshuffled", TRAINED, SEED), World(1, 2), BATCH, 0).indices[-1])
    bad = values.copy()
    bad[late, 2, 3] = np.nan
    np.save(tmp_path / "x.npy", bad)
    run = tmp_path / "run"
    ended = trained(tmp_path, f"{run} --steps {STOPPED}", f"{run} --resume")
    assert ended.returncode == 2, ended.stderr
    assert [line for line in ended.stderr.splitlines() if line.startswith("hvd-ae:")] == [
        f"hvd-ae: data='{tmp_path}/x.npy' holds nan in sample {late}, feature (2, 3): every value must be finite in float32; "
        "mend or drop such samples, or train with --missing mean"], ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert f"going on from step {STOPPED}" in ended.stdout
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-000000{STOPPED}"]

    np.save(tmp_path / "x.npy", values)
    said = succeeded(trained(tmp_path, f"{run} --resume", f"{tmp_path}/whole"))
    assert f"going on from step {STOPPED}" in said and "bad checkpoint" not in said
    resumed, whole = (json.loads((folder / "summary.json").read_text()) for folder in (run, tmp_path / "whole"))
    assert resumed["steps"] == whole["steps"] == 46
    assert resumed["weights_checksum"] == whole["weights_checksum"]
