"""Signals, preemption, requeue and dead nodes."""

import json

import pytest

from tests.slurm.slurm import TRAINING


# What would go wrong if it were passed on as it is: mpirun dies of USR2, srun answers TERM by killing the ranks.
@pytest.mark.parametrize(("name", "launcher"), [("USR1", "srun"), ("TERM", "srun"), ("USR1", "mpirun"), ("USR2", "mpirun")])
def test_a_signal_to_the_job_script_reaches_every_rank_and_requeues(slurm, stand_in, tmp_path, name, launcher):
    stand_in["STAND_IN_DOES"] = "restarted-end"
    job = slurm.submit(tmp_path, "preemptible.sbatch", HVD_AE_LAUNCHER=launcher, **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    slurm.command("scancel", "--batch", f"--signal={name}", job.number)
    job.succeeded()
    assert [f"start 0 rank {rank}: SIGUSR1" in job.output for rank in (0, 1)] == [True, True], job.output
    assert "requeue 1 of at most 20" in job.output
    assert job.output.count("start 1 ends") == 2, "the second start appends to the output of the first"
    assert all("--resume" in note["arguments"] for note in job.notes() + job.notes(start=1))
    assert job.field("Restarts") == "1"


def test_a_job_is_requeued_so_many_times_and_no_more(slurm, stand_in, tmp_path):
    stand_in["STAND_IN_DOES"] = "wait"
    job = slurm.submit(tmp_path, "preemptible.sbatch", HVD_AE_REQUEUES="1", **stand_in)
    for start in (0, 1):
        job.until(lambda start=start: len(job.notes(start)) == 2)
        slurm.command("scancel", "--batch", "--signal=USR1", job.number)
    job.ended()
    assert (job.state, job.exit_status) == ("FAILED", 75)
    assert "not requeued again after 1 requeues" in job.output


def test_another_script_passes_status_75_on(slurm, stand_in, tmp_path):
    stand_in["STAND_IN_DOES"] = "wait"
    job = slurm.submit(tmp_path, "train.sbatch", **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    slurm.command("scancel", "--batch", "--signal=USR1", job.number)
    job.ended()
    assert (job.state, job.exit_status) == ("FAILED", 75)


def test_a_preempted_job_saves_within_its_grace_and_goes_on_afterwards(slurm, stand_in, tmp_path):
    stand_in["STAND_IN_DOES"] = "restarted-end"
    job = slurm.submit(tmp_path, "preemptible.sbatch", **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    slurm.command("srun", "--partition=urgent", "--nodes=3", "--ntasks=3", "hostname")
    job.succeeded()
    assert "start 0 rank 0: SIGTERM" in job.output and "start 0 rank 1: SIGTERM" in job.output
    assert job.output.count("start 1 ends") == 2
    assert job.field("Restarts") == "1"


def test_a_dead_node_ends_a_job_that_is_not_to_be_requeued(slurm, stand_in, tmp_path):
    stand_in["STAND_IN_DOES"] = "wait"
    job = slurm.submit(tmp_path, "train.sbatch", options=("--no-requeue",), **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    slurm.cluster("kill-node", "node1")
    try:
        job.ended(60)
    finally:
        slurm.cluster("start-node", "node1")
    assert job.state in ("NODE_FAIL", "FAILED")


def test_training_that_is_signalled_and_requeued_ends_as_if_nothing_had_happened(slurm, tmp_path):
    """Real ranks: a checkpoint in the middle of an epoch, status 75, requeue, and the same parameters in the end."""
    training = [*TRAINING, "--data", "synthetic:20000x64", "--batch-size", "8", "--epochs", "4"]
    folders = tmp_path / "whole", tmp_path / "signalled"
    for folder in folders:
        folder.mkdir()
    slurm.submit(folders[0], "train.sbatch", *training).succeeded()
    job = slurm.submit(folders[1], "preemptible.sbatch", *training)
    job.until(lambda: list(folders[1].glob("runs/*/metrics.jsonl")), 90)
    slurm.command("scancel", "--batch", "--signal=TERM", job.number)
    job.succeeded()
    assert "hvd-ae: stopped at step " in job.output and "going on from step " in job.output
    (whole,), (signalled,) = ([json.loads(path.read_text()) for path in folder.glob("runs/*/summary.json")]
                              for folder in folders)
    assert signalled["weights_checksum"] == whole["weights_checksum"] and signalled["samples"] == whole["samples"]


def test_training_goes_on_on_a_spare_node_when_one_of_its_nodes_dies(slurm, tmp_path):
    training = [*TRAINING, "--epochs", "20"]
    job = slurm.submit(tmp_path, "preemptible.sbatch", *training)
    job.until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-????????")), 90)
    slurm.cluster("kill-node", "node1")
    try:
        job.succeeded(150)
    finally:
        slurm.cluster("start-node", "node1")
    assert "going on from step " in job.output
    summary = job.summary()
    assert (summary["ranks"], summary["in_sync"], summary["epochs"], summary["samples"]) == (2, True, 20, 20 * 1500)
    assert job.field("Restarts") == "1" and job.field("NodeList") == "node[0,2]"
