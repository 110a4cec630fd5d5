"""Every bad input, on three real ranks: one sentence, from one rank, exit status 2, before training."""

import gzip
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.in_turn import run_in_turn
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
    "nan.npy": "nan in sample 60",  # of the last rank's training samples
    "nan-later.npy": "nan in sample 79",  # of its validation samples
    "inf.npy": "inf in sample 3",
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
    "{rank}.npy": "is not the same on all ranks",  # files of different length
}
# what is seen only when MPI runs, and the data and the model are there
SETTINGS = {
    "--data good.npy --partition label-skew": "needs labels, and these data have none",
    "--data good.npy --model models:build": "there is no module 'models'",
    "--averaging adasum": "3 ranks are no power of two",
    "--run-dir run": "holds a run already",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    (folder / "run").mkdir()
    (folder / "run" / "config.toml").write_text("")
    return folder


@pytest.fixture(scope="module")
def refused(inputs, tmp_path_factory):
    """What all three ranks together said, and ended with, for each of `CASES` and `SETTINGS`: all tried in one job."""
    folder = tmp_path_factory.mktemp("results")
    flags = {data: ["--data", data, "--partition", "contiguous", *([] if data == "mnist" else ["--validation-split", "0.2"])]
             for data in CASES}
    flags |= {said: said.split() for said in SETTINGS}
    environments = [{"HVD_AE_DATA": str(inputs)} if case == "mnist" else {} for case in flags]
    of_ranks = run_in_turn(3, [["train", *given] for given in flags.values()], folder, inputs, environments=environments)
    return dict(zip(flags, map(of_the_job, *of_ranks), strict=True))


def of_the_job(*of_ranks: dict) -> subprocess.CompletedProcess:
    """One command's end, as the one who started the job would see it."""
    [status] = {ended["status"] for ended in of_ranks}
    out, err = ("".join(ended[name] for ended in of_ranks) for name in ("out", "err"))
    return subprocess.CompletedProcess([], status, out, err)


def assert_refused(ended, words: str) -> None:
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("hvd-ae: "), ended.stderr
    assert words in lines[0]
    assert "epoch" not in ended.stdout


@pytest.mark.parametrize("data", CASES)
def test_bad_data(refused, data):
    assert_refused(refused[data], CASES[data])


@pytest.mark.parametrize("flags", SETTINGS)
def test_settings_that_do_not_fit_these_ranks_or_data(refused, flags):
    assert_refused(refused[flags], SETTINGS[flags])


def test_a_job_of_its_own_ends_like_that_too(inputs):
    """Through Horovod, whose thread and exit handlers have a say in how a job ends."""
    ended = mpirun(3, HVD_AE, "train", "--data", "nan.npy", "--partition", "contiguous", "--collectives", "horovod",
                   cwd=inputs, timeout=120)
    assert_refused(ended, "nan in sample 60")


def test_lone_copies_are_refused(inputs):
    """What ranks see whose launcher is not that of our MPI: it says 4 ranks, and every process is alone.

    Of another launcher tests/slurm has the same, and tests/unit/test_world.py has what each is read from.
    """
    command = [sys.executable, "-m", "hvd_ae", "train", "--collectives", "mpi"]
    with ThreadPoolExecutor() as both:
        first, other = both.map(lambda rank: run(command, cwd=inputs, timeout=120, PMI_SIZE="4", PMI_RANK=rank), "03")
    assert_refused(first, "PMI_SIZE=4 but mpi sees 1 rank")
    assert (other.returncode, other.stdout, other.stderr) == (2, "", "")  # one of them has said it


def test_one_process_under_a_launcher_is_refused(inputs):
    assert_refused(mpirun(3, HVD_AE, "train", "--collectives", "single", cwd=inputs, timeout=120), "PMI_SIZE=3")


@pytest.mark.parametrize("flags, words", [
    (["--batch-size", "0"], "batch_size=0 must be at least 1"),
    (["--sync-every", "4"], "sync_every=4 has no effect"),
    (["--config", "absent.toml"], "config='absent.toml' cannot be read"),
])
def test_bad_settings(inputs, flags, words):
    """Seen before MPI is started, and so in a job of their own, which takes no time."""
    assert_refused(mpirun(3, HVD_AE, "train", *flags, cwd=inputs, timeout=120), words)
