"""Every bad input, on three real ranks: one sentence, from one rank, exit status 2, before training."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.launch import HVD_AE, mpirun, run

MNIST = Path(__file__).parents[1] / "data" / "mnist"


def make_inputs(folder: Path) -> None:
    good = np.random.default_rng(0).uniform(size=(90, 16)).astype(np.float32)
    np.save(folder / "good.npy", good)
    np.save(folder / "0.npy", good)
    np.save(folder / "1.npy", good)
    np.save(folder / "2.npy", good[:80])  # rank 2 sees a shorter file
    for name, row, value in (("nan", 60, np.nan), ("nan-later", 79, np.nan), ("inf", 3, np.inf)):
        bad = good.copy()
        bad[row, 5] = value
        np.save(folder / f"{name}.npy", bad)
    np.save(folder / "flat.npy", good.ravel())
    np.save(folder / "objects.npy", np.array([{"a": 1}] * 90), allow_pickle=True)
    np.save(folder / "few.npy", good[:3])
    np.save(folder / "large.npy", good * 7)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-700])
    images = gzip.decompress((MNIST / "t10k-images-idx3-ubyte.gz").read_bytes())
    packed = gzip.compress(images[: 16 + 784 * 100], 1)
    (folder / "cut-ubyte.gz").write_bytes(packed[:-5000])
    (folder / "corrupt-ubyte.gz").write_bytes(packed[:2000] + b"\xff" * 50 + packed[2050:])
    (folder / "magic-ubyte").write_bytes(b"\1\2\3\4" + images[4:])
    mnist = folder / "mnist"
    mnist.mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        test_set = MNIST / name.replace("train", "t10k")  # 10,000 digits where 60,000 were published
        (mnist / f"{name}.gz").write_bytes((test_set.parent / f"{test_set.name}.gz").read_bytes())


CASES = {
    "missing.npy": "missing.npy",
    "nan.npy": "nan in row 60",  # of the last rank's training rows
    "nan-later.npy": "nan in row 79",  # of its validation rows
    "inf.npy": "inf in row 3",
    "flat.npy": "shape (1440,)",
    "objects.npy": "Python objects",
    "few.npy": "3 ranks",
    "large.npy": "sigmoid output",
    "cut.npy": "cut.npy",
    "cut-ubyte.gz": "cut-ubyte.gz",
    "corrupt-ubyte.gz": "corrupt-ubyte.gz",
    "magic-ubyte": "01020304",
    "mnist": "SHA-256",
    "no-such-data": "is not known: use digits",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


def assert_refused(ended, words: str) -> None:
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("hvd-ae: "), ended.stderr
    assert words in lines[0]
    assert "epoch" not in ended.stdout


@pytest.mark.parametrize("data", CASES)
def test_bad_data(inputs, data):
    options = {"HVD_AE_DATA": str(inputs)} if data == "mnist" else {}
    split = [] if data == "mnist" else ["--validation-split", "0.2"]  # named data bring validation samples of their own
    ended = mpirun(3, HVD_AE, "train", "--data", data, "--partition", "contiguous", *split, cwd=inputs, timeout=120, **options)
    assert_refused(ended, CASES[data])


def test_ranks_that_see_files_of_different_length(inputs):
    ended = mpirun(3, "sh", "-c", f"exec {HVD_AE} train --data $PMI_RANK.npy", cwd=inputs, timeout=120)
    assert_refused(ended, "is not the same on all ranks")


@pytest.mark.parametrize("size, rank", [("PMI_SIZE", "PMI_RANK"), ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")])
def test_lone_copies_are_refused(inputs, size, rank):
    """What ranks see whose launcher is not that of our MPI: it says 4 ranks, and every process is alone."""
    command = [sys.executable, "-m", "hvd_ae", "train", "--collectives", "mpi"]
    assert_refused(run(command, cwd=inputs, timeout=120, **{size: "4", rank: "0"}), f"{size}=4 but mpi sees 1 rank")
    other = run(command, cwd=inputs, timeout=120, **{size: "4", rank: "3"})
    assert (other.returncode, other.stdout, other.stderr) == (2, "", "")  # one of them has said it


def test_one_process_under_a_launcher_is_refused(inputs):
    assert_refused(mpirun(3, HVD_AE, "train", "--collectives", "single", cwd=inputs, timeout=120), "PMI_SIZE=3")


@pytest.mark.parametrize("flags, words", [
    (["--batch-size", "0"], "batch_size=0 must be at least 1"),
    (["--sync-every", "4"], "sync_every=4 has no effect"),
    (["--model", "giant"], "model='giant' is not known"),
    (["--data", "good.npy", "--partition", "label-skew"], "needs labels, and these data have none"),
    (["--data", "good.npy", "--model", "models:build"], "there is no module 'models'"),
    (["--config", "absent.toml"], "config='absent.toml' cannot be read"),
    (["--averaging", "adasum"], "3 ranks are no power of two"),
])
def test_bad_settings(inputs, flags, words):
    assert_refused(mpirun(3, HVD_AE, "train", *flags, cwd=inputs, timeout=120), words)


def test_a_run_folder_is_not_overwritten(inputs, tmp_path):
    (tmp_path / "config.toml").write_text("")
    assert_refused(mpirun(3, HVD_AE, "train", "--run-dir", str(tmp_path), cwd=inputs, timeout=120), "holds a run already")
