"""How jobs/launch.sh stages data, in a real shell; `srun` is one that runs the command here."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = '''
set -euo pipefail
srun() { while [[ $1 == --* ]]; do shift; done; "$@"; }
source jobs/launch.sh
stage_data
echo "HVD_AE_DATA=${HVD_AE_DATA:-}"
echo "stage=${stage[*]}"
find "$HVD_AE_SCRATCH" -type f -printf '%P\\n'
'''


@pytest.fixture
def place(tmp_path):
    for folder in ("the data", "scratch", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "the data" / "part.npy").write_text("samples")
    (tmp_path / "venv" / "bin" / "activate").write_text("")
    (tmp_path / "a link").symlink_to("the data")
    (tmp_path / "link.npy").symlink_to("the data/part.npy")
    return tmp_path


def staged(place: Path, source: str) -> list[str]:
    environment = {"PATH": "/usr/bin:/bin", "HVD_AE_VENV": str(place / "venv"), "HVD_AE_SCRATCH": str(place / "scratch"),
                   "HVD_AE_DATA_SOURCE": source, "SLURM_JOB_ID": "77", "SLURM_NNODES": "1"}
    ended = subprocess.run(["bash", "-c", STAGES], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
                           check=False)
    assert ended.returncode == 0, ended.stderr
    assert not list((place / "scratch").iterdir())  # removed at the end
    return ended.stdout.replace(f"{place}/scratch/", "").splitlines()


@pytest.mark.parametrize(("spelling", "name"), [
    ("the data", "the data"), ("the data/", "the data"), ("the data//", "the data"), ("the data/.", "the data"),
    ("scratch/../the data/", "the data"), ("a link/", "a link"), ("a link", "a link")])
def test_a_folder_is_found_where_it_was_copied_to(place, spelling, name):
    assert staged(place, f"{place}/{spelling}") == [f"HVD_AE_DATA=hvd_ae-77/{name}", "stage=",
                                                    f"hvd_ae-77/{name}/part.npy"]


@pytest.mark.parametrize("spelling", ["the data/part.npy", "link.npy", "run.h5:/group/x", "the data/*.npy"])
def test_anything_else_is_left_to_the_ranks(place, spelling):
    assert staged(place, f"{place}/{spelling}") == ["HVD_AE_DATA=", f"stage=--data {place}/{spelling} --stage hvd_ae-77"]
