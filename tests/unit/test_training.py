"""What training keeps on disk, and when its calls end."""

import json

import numpy as np
import pytest

from hvd_ae.runs.folder import RunFolder
from hvd_ae.training.pace import call_ends
from hvd_ae.training.vector_files import BadFile, read_json, read_vectors, write_json, write_vectors

VECTORS = {"parameters": np.arange(1000, dtype=np.float32), "count": np.array(7, np.int64)}


@pytest.mark.parametrize("steps, proof_every, at_once", [(1, 100, 1), (235, 100, 1), (235, 7, 1), (235, 48, 16), (10, 48, 16)])
def test_calls_end_where_they_should(steps, proof_every, at_once):
    ends = call_ends(steps, proof_every, bytes_per_step=1000, at_once=at_once)
    lengths = np.diff([0, *ends])
    assert ends[-1] == steps and min(lengths) > 0
    assert set(range(proof_every, steps, proof_every)) <= set(ends)
    assert lengths[0] == min(at_once, steps)
    assert all(length % at_once == 0 for length in lengths[:-1])


def test_calls_are_short_where_samples_are_large():
    lengths = np.diff([0, *call_ends(100, 1000, bytes_per_step=16 << 20)])
    assert max(lengths) * (16 << 20) <= 64 << 20


def test_vectors_come_back_as_they_were(tmp_path):
    back = read_vectors(tmp_path, "rank-1.", write_vectors(tmp_path, "rank-1.", VECTORS))
    for name, vector in VECTORS.items():
        np.testing.assert_array_equal(back[name], vector)
        assert back[name].dtype == vector.dtype and back[name].shape == vector.shape


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "swapped"])
def test_damaged_vectors_are_refused_by_name(tmp_path, damage):
    sums = write_vectors(tmp_path, "", VECTORS)
    path = tmp_path / "parameters.npy"
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[500] ^= 4
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-3])
    elif damage == "gone":
        path.unlink()
    else:
        (tmp_path / "count.npy").rename(path)
    with pytest.raises(BadFile, match="parameters.npy"):
        read_vectors(tmp_path, "", sums)


def test_every_bit_of_a_manifest_counts(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"ranks": 2, "position": {"step": 10, "loss_sum": 0.1}})
    good = path.read_bytes()
    assert read_json(path)["position"] == {"step": 10, "loss_sum": 0.1}
    wrongly_read = []
    for position in range(len(good)):
        for bit in (1, 4, 16):
            damaged = bytearray(good)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            try:
                if read_json(path) != {"ranks": 2, "position": {"step": 10, "loss_sum": 0.1}}:
                    wrongly_read.append((position, bit))
            except BadFile:
                pass
    assert not wrongly_read


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, json.dumps({"content": {}, "sha256": 3}), "\0\0"])
def test_foreign_manifests_are_refused(tmp_path, content):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(BadFile, match="m.json"):
        read_json(tmp_path / "m.json")


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch, "step": 10 * epoch})
    with open(folder.metrics, "a") as file:
        file.write('{"epoch": 4, "st')
    assert [row["epoch"] for row in folder.read_metrics()] == [1, 2, 3]
    folder.keep_metrics_until(20)
    assert [row["step"] for row in folder.read_metrics()] == [10, 20]
