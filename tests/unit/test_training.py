"""What training keeps on disk, and when its calls end."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from hvd_ae.data.feed import SuperBatch
from hvd_ae.runs.folder import RunFolder
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.checkpointing.files import BadFile, read_json, read_vectors, write_json, write_vectors
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.execution import Clock, call_ends

VECTORS = {"parameters": np.arange(1000, dtype=np.float32), "count": np.array(7, np.int64)}


@pytest.mark.parametrize("steps, check_every, at_once", [(1, 100, 1), (235, 100, 1), (235, 7, 1), (235, 48, 16), (10, 48, 16)])
def test_calls_end_where_they_should(steps, check_every, at_once):
    ends = call_ends(steps, check_every, bytes_per_step=1000, at_once=at_once)
    lengths = np.diff([0, *ends])
    assert ends[-1] == steps and min(lengths) > 0
    assert set(range(check_every, steps, check_every)) <= set(ends)
    assert lengths[0] == min(at_once, steps)
    assert all(length % at_once == 0 for length in lengths[:-1])


def test_calls_are_short_where_samples_are_large():
    lengths = np.diff([0, *call_ends(100, 1000, bytes_per_step=16 << 20)])
    assert max(lengths) * (16 << 20) <= 64 << 20


def test_calls_keep_their_promises_for_any_numbers():
    """Five hundred drawn by chance; checks fall on multiples of a period, which strategies make their `at_once` divide."""
    random = np.random.default_rng(0)
    for _ in range(500):
        at_once = int(random.integers(1, 20))
        steps, check_every = int(random.integers(1, 400)), at_once * int(random.integers(1, 30))
        ends = call_ends(steps, check_every, bytes_per_step=int(random.integers(1, 64 << 20)), at_once=at_once)
        lengths = np.diff([0, *ends])
        assert ends[-1] == steps and lengths.min() > 0 and lengths[:-1].max(initial=0) <= max(50, at_once)
        assert set(range(check_every, steps, check_every)) <= set(ends)
        assert not np.any(lengths[:-1] % at_once)
    assert call_ends(0, 10, 1) == []  # a run that is resumed at its end has nothing left to do


def super_batch(*global_batch_sizes):
    return SuperBatch({"samples": np.zeros((1, 1))}, np.array(global_batch_sizes) // 2, np.array(global_batch_sizes))


def test_the_call_in_which_the_graph_is_traced_is_not_timed(monkeypatch):
    """The clock moves on while a super-batch is trained on: 10 seconds for the first, 1 for each of the others."""
    now = [0.0]
    monkeypatch.setattr("hvd_ae.training.execution.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def run(clock, at_end=0.0):
        for _, seconds in zip(clock.timed([super_batch(8), super_batch(8, 8), super_batch(8, 3)]), [10.0, 1.0, 1.0]):
            now[0] += seconds
        clock.timed_end(lambda: now.__setitem__(0, now[0] + at_end))
        return clock.seconds, clock.warm_seconds, clock.warm_samples

    assert run(Clock(warm=False)) == (12.0, 2.0, 27)
    assert run(Clock(warm=True)) == (12.0, 12.0, 35)
    assert run(Clock(warm=False), at_end=5.0) == (17.0, 2.0, 27)
    assert run(Clock(warm=True), at_end=5.0) == (17.0, 17.0, 35)


def test_a_cursor_moves_on_by_super_batches_and_epochs():
    cursor = Cursor(epoch=1, step=10, samples=100).advanced(super_batch(8, 8), 0.5).advanced(super_batch(3), 0.25)
    assert cursor == Cursor(epoch=1, step_in_epoch=3, step=13, samples=119, loss_sum=0.75, epoch_samples=19)
    assert cursor.next_epoch() == Cursor(epoch=2, step=13, samples=119)


def test_a_vector_that_would_have_to_be_unpickled_is_refused_even_with_its_right_checksum(tmp_path):
    path = tmp_path / "parameters.npy"
    np.save(path, np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(BadFile, match="parameters.npy holds no plain numbers"):
        read_vectors(tmp_path, "", {"parameters": hashlib.sha256(path.read_bytes()).hexdigest()})


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
    assert [record["epoch"] for record in folder.read_metrics()] == [1, 2, 3]
    folder.begin(TrainSettings().resolved(), step=20, records=[{"epoch": 2, "step": 20}])
    assert [record["step"] for record in folder.read_metrics()] == [10, 20]
    folder.begin(TrainSettings().resolved(), step=40, records=[{"epoch": 4, "step": 40}])  # which a checkpoint has kept
    assert [record["step"] for record in folder.read_metrics()] == [10, 20, 40]
