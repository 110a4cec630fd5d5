"""Jobs that lose ranks or nodes, and go on inside their allocation."""

import os
import signal

import psutil
import pytest

from tests.slurm.slurm import JOBS, TRAINING


def ranks_on(slurm, node: str) -> list[psutil.Process]:
    """The stand-ins there."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("SLURMD_NODENAME") == node and "STAND_IN_DOES" in environment and "stand_in.py" in " ".join(
                process.cmdline()):
            found.append(process)
    return found


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_a_rank_that_is_killed_costs_no_requeue(slurm, stand_in, tmp_path, launcher):
    stand_in["STAND_IN_DOES"] = "restarted-end"
    job = slurm.submit(tmp_path, "train.sbatch", "--epochs", "9", HVD_AE_LAUNCHER=launcher, **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    ranks_on(slurm, "node1")[0].send_signal(signal.SIGKILL)
    job.succeeded()
    again = job.notes("again")
    assert [note["host"] for note in again] == ["node0", "node1"]
    for note in again:
        assert note["arguments"][-5:] == ["--epochs", "9", "--resume", "--as-ranks", "2"]
    assert "a rank was lost" in job.output and "restart 1 of at most 20, on node0 node1" in job.output
    assert job.field("Restarts") == "0"


def test_a_spare_node_takes_the_place_of_one_that_died(slurm, stand_in, tmp_path):
    stand_in |= {"STAND_IN_DOES": "restarted-end", "HVD_AE_SPARE_NODES": "1", "HVD_AE_ANSWER_WITHIN": "5"}
    job = slurm.submit(tmp_path, "train.sbatch", options=("--nodes=3", "--no-kill"), **stand_in)
    job.until(lambda: len(job.notes()) == 2)
    assert [note["host"] for note in job.notes()] == ["node0", "node1"]
    slurm.cluster("kill-node", "node1")
    try:
        job.succeeded(150)
    finally:
        slurm.cluster("start-node", "node1")
    assert [note["host"] for note in job.notes("again")] == ["node0", "node2"]


def test_a_node_answers_while_lost_ranks_still_hold_its_memory(slurm, tmp_path):
    script = tmp_path / "looks.sbatch"
    script.write_text(f"""#!/bin/bash
source {JOBS}/launch.sh
declare -A failures
srun --mpi=none --nodes=1 --ntasks=1 --nodelist=node0 sleep 6 &
until squeue --steps --noheader --jobs="$SLURM_JOB_ID" | grep -q sleep; do sleep 0.2; done
look_for_nodes
echo "answer: ${{nodes[*]}}"
""")
    job = slurm.submit(tmp_path, str(script), HVD_AE_ANSWER_WITHIN="10", HVD_AE_JOBS=str(JOBS)).ended()
    assert "answer: node0 node1" in job.output, job.output


def test_a_job_that_gains_nothing_ends(slurm, stand_in, tmp_path):
    """Every start loses its rank; only the first has left a checkpoint."""
    command = tmp_path / "environment" / "bin" / "hvd-ae"
    command.write_text("#!/bin/sh\nmkdir -p \"$3/checkpoints/step-00000007\"\nkill -9 $$\n")
    job = slurm.submit(tmp_path, "train.sbatch", **stand_in).ended()
    assert (job.state, job.exit_status) == ("FAILED", 76)
    assert job.output.count("a rank was lost") == 3


def test_training_goes_on_on_the_nodes_that_are_left(slurm, tmp_path):
    """Real ranks: one of two nodes dies, and the other takes the same global batches by itself."""
    job = slurm.submit(tmp_path, "train.sbatch", *TRAINING, "--epochs", "20", "--batch-size", "64", options=("--no-kill",),
                       HVD_AE_ANSWER_WITHIN="5", OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"))
    job.until(lambda: list(tmp_path.glob("runs/*/checkpoints/step-????????")), 90)
    slurm.cluster("kill-node", "node1")
    try:
        job.succeeded(150)
    finally:
        slurm.cluster("start-node", "node1")
    summary = job.summary()
    assert (summary["ranks"], summary["epochs"], summary["samples"]) == (1, 20, 20 * 1500), job.output
    assert "global batch: 128 (1 x 64 x 2 steps accumulated)" in job.output, job.output
