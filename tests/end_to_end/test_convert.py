"""`hvd-ae convert` on ranks: the same bytes from any number of them, in order or shuffled, killed or not."""

import hashlib
import json
import sys

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from hvd_ae.data.load import load_samples
from hvd_ae.data.partition import Partition
from hvd_ae.data.source import LABELS, SAMPLES
from tests.launch import mpirun, ranks_of, run, started, status_of, succeeded, wait_until

SUFFIXES = (".npy", ".h5", ".zarr", "")
WAYS = {"ordered": [], "shuffled": ["--shuffle", "--seed", "3"],
        "windowed": ["--shuffle", "--seed", "3", "--shuffle-memory", "2300KB"]}
CASES = [*(("ordered", suffix) for suffix in SUFFIXES), ("shuffled", ".h5"), ("shuffled", ".zarr"), ("windowed", ".npy"),
         ("windowed", "")]
PIECE = 1 << 16  # bytes, instead of 16 MB, so that a few megabytes make many stretches

SCRIPT = """
import json, sys, time
from hvd_ae import cli
from hvd_ae.commands.convert import gain, layout, npy, hdf5, zarr, parquet
layout._BYTES_A_CHUNK, layout._BYTES_A_PIECE, gain._SECONDS = 1 << 13, 1 << 16, 0.01
commands, pause = json.loads(sys.argv[1]), float(sys.argv[2])
for writer in (npy.NpyWriter, hdf5.Hdf5Writer, zarr.ZarrWriter, parquet.ParquetWriter):
    def write(self, first, values, original=writer.write):
        original(self, first, values)
        time.sleep(pause)
    writer.write = write
for command in commands:
    if status := cli.main(command):
        sys.exit(status)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits ten times over, each time a little brighter, in gzip chunks that make several blocks."""
    folder, digits = tmp_path_factory.mktemp("convert"), load_digits()
    images = np.concatenate([digits.images[..., None] / 16 + time for time in range(10)]).astype(np.float32)
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("scans/images", data=images, chunks=(640, 8, 8, 1), compression="gzip", compression_opts=1)
        file["scans/digit"] = np.tile(digits.target, 10)
    (folder / "convert.py").write_text(SCRIPT)
    return folder


def command(way: str, destination: str) -> list[str]:
    return ["convert", "data.h5:/scans/images", destination, "--labels", "digit", *WAYS[way]]


@pytest.fixture(scope="module")
def converted(folder):
    """What is said, after every way has been taken into every format by one process, and by two ranks."""
    said = {}
    for ranks in (1, 2):
        (folder / str(ranks)).mkdir()
        commands = [command(way, f"{ranks}/{way}{suffix}") for way, suffix in CASES]
        engine = ["--collectives", "mpi"] if ranks > 1 else []
        arguments = [sys.executable, "convert.py", json.dumps([[*each, *engine] for each in commands]), "0"]
        said[ranks] = succeeded(mpirun(ranks, *arguments, cwd=folder) if ranks > 1 else run(arguments, cwd=folder))
    return said


def opened(path, suffix):
    """As a training would read it, with its labels."""
    return load_samples(str(path)) if suffix == ".npy" else load_samples(f"{path}:samples", beside={LABELS: LABELS})


def about(path, suffix) -> dict:
    if suffix == ".h5":
        with h5py.File(path) as file:
            return {**json.loads(file.attrs["about"]), "checksum": file.attrs["checksum"].decode(),
                    "statistics": json.loads(file.attrs["statistics"])}
    if suffix == ".zarr":
        return json.loads((path / "zarr.json").read_text())["attributes"]
    return json.loads((path.with_suffix(".convert.json") if suffix else path / "convert.json").read_text())


def content(path) -> dict[str, bytes]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def expected(folder, way: str, window: int | None):
    source = load_samples(f"{folder}/data.h5:/scans/images", beside={LABELS: "digit"})
    assert len(source.block_starts) > 3
    if way == "ordered":
        order = np.arange(source.count)
    else:
        partition = Partition("reshuffled", source.count, 3, window=window, block_starts=source.block_starts)
        order = partition.global_order(0).indices(np.arange(source.count))
        np.testing.assert_array_equal(np.sort(order), np.arange(source.count))
        assert (order != np.arange(source.count)).mean() > 0.9
    return {name: source.read_all(name)[order] for name in (SAMPLES, LABELS)}


@pytest.mark.parametrize(("way", "suffix"), CASES)
def test_any_number_of_ranks_writes_the_same_and_what_is_read_back_is_the_source(folder, converted, way, suffix):
    one, two = (folder / str(ranks) / f"{way}{suffix}" for ranks in (1, 2))
    said = about(one, suffix)
    assert (said["window"] is not None) == (way == "windowed")
    values = expected(folder, way, said["window"])
    for path in (one, two):
        source = opened(path, suffix)
        assert source.fields[SAMPLES].dtype == np.float32 and source.fields[LABELS].dtype == np.int64
        for name, array in values.items():
            np.testing.assert_array_equal(source.read_all(name), array)
        assert about(path, suffix) == said
    assert content(one) == content(two)
    rows = said["rows_a_piece"]
    digests = [hashlib.sha256(values[LABELS][first : first + rows].tobytes() + values[SAMPLES][first : first + rows].tobytes())
               for first in range(0, said["count"], rows)]
    assert len(digests) > 40
    assert said["checksum"] == hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
    for name, array in values.items():
        numbers, stated = array.astype(np.float64), said["statistics"][name]
        assert [stated["count"], stated["min"], stated["max"]] == [numbers.size, numbers.min(), numbers.max()]
        np.testing.assert_allclose([stated["mean"], stated["std"]], [numbers.mean(), numbers.std()], rtol=1e-12)
    assert not list(folder.glob("*/*.partial"))


def test_what_was_gained_is_said_once(converted):
    for said in converted.values():
        assert said.count("17,970 samples are in ") == said.count("sha256 of the values: ") == len(CASES)
        assert said.count(", at random ") == len(CASES)
        assert said.count("labels: 17,970 numbers from 0 to 9, mean ") == len(CASES)
        assert "read them with --data 1/ordered.h5:samples --labels labels" in converted[1]


@pytest.mark.parametrize(("suffix", "way"), [
    (".h5", "ordered"), *(pytest.param(*case, marks=pytest.mark.soak) for case in (
        (".npy", "windowed"), (".zarr", "ordered"), ("", "windowed")))])
def test_a_killed_rank_costs_a_few_stretches_and_any_number_of_ranks_goes_on(folder, converted, suffix, way):
    """Killed on two ranks; gone on with by one."""
    path, log = folder / f"killed{suffix}", folder / f"log{suffix}"
    partial = folder / f"killed{suffix}.partial"
    arguments = ["convert.py", json.dumps([[*command(way, str(path)), "--collectives", "mpi"]])]
    with started(2, sys.executable, str(folder / arguments[0]), arguments[1].replace("data.h5", f"{folder}/data.h5"), "0.2",
                 log=log) as job:
        wait_until(lambda: (partial / "done.txt").exists() and len((partial / "done.txt").read_text().splitlines()) > 4, 120)
        ranks_of(job)[1].kill()
        assert status_of(job, log, 60) != 0
    done = len((partial / "done.txt").read_text().splitlines())
    assert 4 < done < 17970 * 264 // PIECE and not path.exists()
    other_way = command("shuffled" if way == "ordered" else "ordered", str(path))
    other = run([sys.executable, "-m", "hvd_ae", *other_way], cwd=folder)
    assert other.returncode == 2 and "was begun with " in other.stderr, other.stderr
    assert len((partial / "done.txt").read_text().splitlines()) == done
    succeeded(run([sys.executable, "convert.py", arguments[1].replace(', "--collectives", "mpi"', "")
                   .replace("data.h5", f"{folder}/data.h5"), "0"], cwd=folder))
    assert content(path).keys() == content(folder / "1" / f"{way}{suffix}").keys()
    for name in (SAMPLES, LABELS):
        np.testing.assert_array_equal(opened(path, suffix).read_all(name),
                                      opened(folder / "1" / f"{way}{suffix}", suffix).read_all(name))
    for known in ("checksum", "statistics"):
        assert about(path, suffix)[known] == about(folder / "1" / f"{way}{suffix}", suffix)[known]
    assert not partial.exists()


REFUSED = {
    "a destination that is there": (["data.h5:/scans/images", "data.h5"], "data.h5 is there already"),
    "labels that are there": (["data.h5:/scans/images", "taken.npy"], "taken.labels.npy is there already"),
    "an unknown ending": (["data.h5:/scans/images", "other.csv"], "'other.csv' cannot be written: name a .npy, .h5 or .zarr"),
    "a folder that cannot be": (["data.h5:/scans/images", "data.h5/other.npy"], "cannot be written (Not a directory)"),
    "too little room": (["synthetic:400000000000x64", "other.npy"], "other.npy needs 95.1TB, and"),
    "no such data": (["absent.h5", "other.npy"], "No such file"),
    "memory of no amount": (["data.h5:/scans/images", "other.npy", "--shuffle", "--shuffle-memory", "much"], "no amount of"),
    "memory for nothing": (["data.h5:/scans/images", "other.npy", "--shuffle-memory", "1GB"], "without --shuffle: drop"),
}
REFUSALS = """
import json, sys
from hvd_ae import cli
for command in json.loads(sys.argv[1]):
    assert cli.main(["convert", *command, "--collectives", "mpi"]) == 2
"""


def test_refusals(folder):
    """Both ranks end with status 2, and one says why."""
    (folder / "taken.labels.npy").write_text("")
    before = sorted(path.name for path in folder.iterdir())
    said = mpirun(2, sys.executable, "-c", REFUSALS, json.dumps([given for given, _ in REFUSED.values()]), cwd=folder)
    assert said.returncode == 0, said.stderr
    sentences = said.stderr.split("hvd-ae: ")[1:]
    assert len(sentences) == len(REFUSED), said.stderr
    for sentence, (_, expected_in_it) in zip(sentences, REFUSED.values()):
        assert expected_in_it in sentence
    assert sorted(path.name for path in folder.iterdir()) == before
