"""`hvd-ae doctor` under srun: which process manager fits, said by one rank."""

from tests.launch import HVD_AE


def said_under(slurm, manager: str, folder) -> list[str]:
    """Its lines on two nodes with one rank each."""
    return slurm.command("srun", f"--mpi={manager}", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--time=3", HVD_AE,
                         "doctor", "--run-dir", str(folder / "runs"), cwd=folder, check=False).splitlines()


def test_the_manager_that_fits(slurm, tmp_path):
    lines = said_under(slurm, "pmi2", tmp_path)
    assert [line for line in lines if line.startswith("ok       launcher     PMI_SIZE=2, and MPI sees 2")], lines
    assert any("node0: 1 rank, node1: 1 rank" in line for line in lines), lines
    assert any("MB (model `deep`)" in line and "through horovod" in line for line in lines), lines
    assert not any(line.startswith("fault") for line in lines), lines


def test_one_that_starts_lone_copies(slurm, tmp_path):
    lines = said_under(slurm, "none", tmp_path)
    assert len(lines) == 1 and lines[0].startswith("fault    launcher"), lines
    assert "SLURM_STEP_NUM_TASKS=2" in lines[0] and "srun --mpi=pmi2" in lines[0]
