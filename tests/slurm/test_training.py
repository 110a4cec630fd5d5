"""Real training under Slurm, on two nodes: what is trained, and what is refused instead of training lone copies."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.slurm.slurm import TRAINING


def check_trained(summary: dict, ranks: int) -> None:
    assert (summary["ranks"], summary["in_sync"], summary["epochs"]) == (ranks, True, 3)
    assert summary["samples_per_second"] > 0 and summary["val_mse"] < 0.2


def test_train_with_srun_from_a_copy_of_the_data_on_each_node(slurm, tmp_path):
    source = tmp_path / "digits.npy"
    np.save(source, (load_digits().images / 16).astype("float32"))
    job = slurm.submit(tmp_path, "train.sbatch", *TRAINING, HVD_AE_DATA_SOURCE=str(source)).succeeded()
    assert "2 ranks on 2 nodes" in job.output
    check_trained(job.summary(f"hvd-ae-{job.number}"), ranks=2)
    assert job.summary()["data"] == str(source)  # where to find them when the copies are gone
    assert f"data: {slurm.folder}/local/hvd_ae-{job.number}/" in job.output
    assert not list((slurm.folder / "tmp").rglob("*.npy"))


def test_train_gpu_with_mpirun_inside_the_allocation(slurm, tmp_path):
    options = ("--gpus-per-node=1",)
    job = slurm.submit(tmp_path, "train-gpu.sbatch", *TRAINING, options=options, HVD_AE_LAUNCHER="mpirun").succeeded()
    assert "2 ranks on 2 nodes" in job.output
    check_trained(job.summary(), ranks=2)


@pytest.mark.soak
def test_scaling_leaves_one_run_folder_per_point(slurm, tmp_path):
    job = slurm.submit(tmp_path, "scaling.sbatch", *TRAINING, options=("--array=1,2",))
    number = job.number
    job.until(lambda: not slurm.command("squeue", "--noheader", "--jobs", number, check=False).strip(), 180)
    for ranks in (1, 2):
        check_trained(job.summary(f"hvd-ae-scaling-{number}/ranks-{ranks}"), ranks)


def test_srun_without_a_process_manager_is_refused_in_one_sentence(slurm, tmp_path):
    job = slurm.submit(tmp_path, "train.sbatch", *TRAINING, HVD_AE_SRUN_MPI="none").ended()
    assert (job.state, job.exit_status) == ("FAILED", 2)
    said = [line for line in job.output.splitlines() if not line.startswith("srun: ")]
    assert len(said) == 1, job.output
    assert said[0].startswith("hvd-ae: SLURM_STEP_NUM_TASKS=2 but ") and "srun --mpi=pmi2" in said[0]
    assert not (tmp_path / "runs").exists()


# Slurm's pmi2 reads 1,024 characters of a line; MPICH writes longer ones where the memory it takes held noise.
NOISY_START = """
import os
blocks = [os.urandom(4040 + 16 * (i % 9)) for i in range(4000)]
for i in range(0, 4000, 2):
    blocks[i] = None
from mpi4py import MPI
assert MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank) == 1
print("met")
"""


def test_ranks_meet_under_pmi2_whatever_their_memory_held(slurm, stand_in, tmp_path):
    command = tmp_path / "environment" / "bin" / "hvd-ae"
    command.write_text(f"#!{sys.executable}\n{NOISY_START}")
    job = slurm.submit(tmp_path, "train.sbatch", **stand_in).succeeded()
    assert job.output.count("met") == 2


@pytest.mark.parametrize("manager", ["pmix", "no-such-thing"])
def test_a_process_manager_that_does_not_fit_ends_the_job_and_trains_nothing(slurm, tmp_path, manager):
    # pmix: without PMIx on the nodes srun itself says "Invalid MPI type"; with it the MPICH from PyPI aborts.
    job = slurm.submit(tmp_path, "train.sbatch", *TRAINING, HVD_AE_SRUN_MPI=manager).ended()
    assert job.state == "FAILED" and job.exit_status != 0
    assert "mpi" in job.output.lower() and not list(tmp_path.glob("runs/*/summary.json"))
