"""Codes, reconstructions and scores by the commands, on one to four ranks and from two formats: the same bytes."""

import json

import h5py
import numpy as np
import pytest

from tests.end_to_end.in_turn import run_in_turn
from tests.launch import HVD_AE, run

pytestmark = pytest.mark.soak
FILES = ("codes.npy", "codes.h5", "codes-1.npy", "again.npy", "scores.npy", "score.json", "threshold.json")


def results(folder, ranks, data):
    """The bytes of what is written by so many ranks; a block of one sample is what the number of threads would change."""
    encode = ["encode", "run", "--data", data, "--output"]
    score = ["score", "run", "--data", data, "--labels", "x.labels.npy", "--score", "code-distance", "--output", "scores.npy"]
    commands = [[*encode, "codes.npy"], [*encode, "codes.h5"], [*encode, "codes-1.npy", "--batch-size", "1"],
                ["reconstruct", "run", "--data", data, "--output", "again.npy"],
                [*score, "--threshold-from", data, "--quantile", "0.95"]]
    for one in run_in_turn(ranks, commands, folder)[0]:
        assert one["status"] == 0, one["err"]
    for name in ("score.json", "threshold.json"):
        (folder / "run" / name).replace(folder / name)
    found = {name: (folder / name).read_bytes() for name in FILES}
    return {name: value.replace(data.encode(), b"") if name.endswith("json") else value for name, value in found.items()}


def test_the_same_bytes_on_any_number_of_ranks_and_from_any_format(tmp_path):
    random = np.random.default_rng(3)
    values = (random.normal(size=(1001, 8)) @ random.normal(size=(8, 5000))).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    np.save(tmp_path / "x.labels.npy", (np.arange(1001) % 17 == 0).astype(np.int64))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(100, 5000), compression="gzip")
    trained = run([HVD_AE, "train", "--data", "x.npy", "--model", "dense", "--code", "3", "--widths", "64", "--epochs", "1",
                   "--normalize", "standard", "--run-dir", "run"], cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    expected = results(tmp_path, 1, "x.npy")
    assert json.loads(expected["score.json"])["labels"]["odd"] == 59
    for ranks, data in ((2, "x.npy"), (3, "x.npy"), (4, "x.npy"), (2, "x.h5:x")):
        found = results(tmp_path, ranks, data)
        assert [name for name in FILES if found[name] != expected[name]] == [], (ranks, data)
