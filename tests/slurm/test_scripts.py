"""What every job script gives its ranks: arguments, cores, threads, GPUs, data on the node's own disk."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.slurm.slurm import JOBS, ROOT

SCRIPTS = sorted(path.name for path in JOBS.glob("*.sbatch"))


def test_the_readme_tells_every_script_apart():
    readme = (JOBS / "README.md").read_text()
    assert len(SCRIPTS) == 4
    assert all(f"| `{name}` |" in readme for name in [*SCRIPTS, "site.sh", "launch.sh"])


def test_the_commands_of_the_documentation_reach_the_ranks(slurm, stand_in, tmp_path):
    """Word by word, but for the nodes of this cluster."""
    commands = re.findall(r"^\$ sbatch (jobs/\S+) (.*)$", (ROOT / "docs/cluster.md").read_text(), flags=re.M)
    assert [script for script, _ in commands] == ["jobs/train.sbatch", "jobs/preemptible.sbatch"]
    for script, arguments in commands:
        (tmp_path / script).mkdir(parents=True)
        job = slurm.submit(tmp_path / script, Path(script).name, *arguments.split(), **stand_in).succeeded()
        assert all(note["arguments"][-len(arguments.split()):] == arguments.split() for note in job.notes())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_header_and_one_command(name):
    lines = (JOBS / name).read_text().splitlines()
    code = " ".join(line for line in lines if line and not line.startswith("#"))
    assert len(lines) <= 25
    assert code.startswith('set -euo pipefail source "${HVD_AE_JOBS:-jobs}/launch.sh" launch ')
    assert '"$@"' in code and "hvd-ae train" in code
    assert "#SBATCH --open-mode=append" in lines


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*JOBS.glob("*.sh"), *JOBS.glob("*.sbatch"), *Path(__file__).parent.glob("*.sh")]
    said = subprocess.run(["shellcheck", *map(str, scripts)], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_arguments_threads_and_ranks_reach_the_command(slurm, stand_in, tmp_path, name, launcher):
    options = {"scaling.sbatch": ("--array=2",), "train-gpu.sbatch": ("--gpus-per-node=1",)}.get(name, ())
    awkward = ["--data", "a name with  spaces.npy", "--model", "$HOME/*", ""]
    job = slurm.submit(tmp_path, name, *awkward, options=options, HVD_AE_LAUNCHER=launcher, **stand_in).succeeded()
    notes = job.notes()
    assert [note["host"] for note in notes] == ["node0", "node1"]
    for rank, note in enumerate(notes):
        arguments, environment = note["arguments"], note["environment"]
        assert arguments[0] == "train" and arguments[-len(awkward):] == awkward
        assert arguments[arguments.index("--threads") + 1] == environment["OMP_NUM_THREADS"] == "2"
        assert (environment["PMI_SIZE"], environment["PMI_RANK"]) == ("2", str(rank))
        assert note["cores"] == [0, 1], "two cores per rank were asked for"


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_each_rank_is_bound_to_its_core_and_sees_the_gpus_of_its_node_only(slurm, stand_in, tmp_path, launcher):
    options = ("--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=2")
    job = slurm.submit(tmp_path, "train-gpu.sbatch", options=options, HVD_AE_LAUNCHER=launcher, **stand_in).succeeded()
    notes = job.notes()
    assert [note["host"] for note in notes] == ["node0", "node0", "node1", "node1"]
    assert [note["cores"] for note in notes] == [[0], [1], [0], [1]]
    # The package then takes one of them by local rank.
    assert [note["environment"]["CUDA_VISIBLE_DEVICES"] for note in notes] == ["0,1"] * 4
    local = "SLURM_LOCALID" if launcher == "srun" else "MPI_LOCALRANKID"
    assert [note["environment"][local] for note in notes] == ["0", "1", "0", "1"]


def test_slurm_can_show_each_rank_its_own_gpu_alone(slurm, stand_in, tmp_path):
    options = ("--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=2")
    job = slurm.submit(tmp_path, "train-gpu.sbatch", options=options, SLURM_GPU_BIND="single:1", **stand_in).succeeded()
    assert [note["environment"]["CUDA_VISIBLE_DEVICES"] for note in job.notes()] == ["0", "1", "0", "1"]


def test_a_named_data_set_is_copied_to_every_node_and_removed_at_the_end(slurm, stand_in, tmp_path):
    source = tmp_path / "the data"
    source.mkdir()
    np.save(source / "part.npy", np.zeros(3))
    job = slurm.submit(tmp_path, "train.sbatch", HVD_AE_DATA_SOURCE=str(source), **stand_in).succeeded()
    for note in job.notes():
        folder = note["environment"]["HVD_AE_DATA"]
        assert folder == f"{slurm.folder}/local/hvd_ae-{job.number}/the data"
        assert note["files"] == [f"{folder}/part.npy"]
    assert not list((slurm.folder / "tmp").rglob("hvd_ae-*"))


def test_data_that_cannot_be_copied_end_the_job_before_any_rank_starts(slurm, stand_in, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (source / "part.npy").symlink_to("/nowhere")
    job = slurm.submit(tmp_path, "preemptible.sbatch", HVD_AE_DATA_SOURCE=str(source), **stand_in).ended()
    assert (job.state, job.exit_status, job.notes()) == ("FAILED", 1, [])
    assert f"HVD_AE_DATA_SOURCE={source} cannot be copied" in job.output


def test_a_point_with_more_ranks_than_the_job_has_is_refused(slurm, stand_in, tmp_path):
    job = slurm.submit(tmp_path, "scaling.sbatch", options=("--array=8",), **stand_in).ended()
    assert (job.state, job.exit_status, job.notes()) == ("FAILED", 2, [])
    assert "8 ranks do not fit into a job of 2 tasks" in job.output
