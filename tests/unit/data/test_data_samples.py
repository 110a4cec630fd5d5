"""Rows as the training reads them, from memory and from memory-mapped files."""

import re
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.arrays import read_npy
from hvd_ae.data.batches import plan_epoch
from hvd_ae.data.samples import Samples, check_labels, check_rows
from hvd_ae.data.sources import fingerprint, load
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World


@pytest.mark.parametrize("indices", [[3, 4, 5, 6], [5, 0, 9, 9], [2], [], [4, 3], [0, 2]])
@pytest.mark.parametrize(("dtype", "expected"), [
    ("uint8", "uint8"), ("int16", "float32"), ("bool", "float32"), ("float16", "float32"), (">f4", "float32"),
    ("float64", "float32"), ("int64", "float32"),
])
def test_rows_are_new_contiguous_and_in_order(indices, dtype, expected):
    values = np.arange(10 * 6).reshape(10, 3, 2).astype(dtype)
    samples = Samples(values, None, "x")
    rows = samples.rows(np.array(indices, np.int64))
    assert rows.dtype == samples.row_dtype == expected
    assert rows.flags.c_contiguous
    assert type(rows) is np.ndarray
    assert rows.shape == (len(indices), 3, 2)
    assert np.array_equal(rows, values[np.array(indices, int)].astype(np.float32))
    rows[:] = 1
    assert np.array_equal(values, np.arange(10 * 6).reshape(10, 3, 2).astype(dtype))


def test_bytes_are_scaled_to_the_unit_interval_and_floats_are_not():
    assert Samples(np.zeros((1, 1), np.uint8), None, "x").scale == 1 / 255
    assert Samples(np.zeros((1, 1), np.uint16), None, "x").scale == 1.0


def test_check_rows_returns_the_extremes_of_these_rows_only():
    values = np.array([[9.0, 9.0], [0.25, 0.5], [-1.0, 0.75], [99.0, -99.0]])
    assert check_rows(Samples(values, None, "x"), np.array([2, 1])) == (-1.0, 0.75)
    assert check_rows(Samples(np.array([[51, 102]], np.uint8), None, "x"), np.array([0])) == (0.2, 0.4)
    assert check_rows(Samples(values, None, "x"), np.array([], np.int64)) == (np.inf, -np.inf)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "inf")])
def test_what_is_not_finite_is_refused_with_its_row(value, word, monkeypatch):
    monkeypatch.setattr("hvd_ae.data.samples._BYTES_A_PIECE", 4 * 3 * 8)  # four rows
    for row in range(11):
        values = np.zeros((11, 3))
        values[row, 2] = value
        samples = Samples(values, None, "mine.npy")
        with pytest.raises(Refused, match=rf"'mine\.npy' holds {word} in row {row}: .*finite"):
            check_rows(samples, np.random.default_rng(0).permutation(11))
        check_rows(samples, np.delete(np.arange(11), row))


def test_a_row_is_named_by_its_place_in_the_users_file(tmp_path):
    """Among some of the rows, and among validation rows, which are the file's last."""
    values = np.zeros((20, 3), np.float32)
    values[[6, 17], 1] = np.nan
    np.save(tmp_path / "mine.npy", values)
    source = load(str(tmp_path / "mine.npy"), World(), validation_split=0.25)
    for samples, rows, named in ((source.train, [9, 6, 3], 6), (source.validation, [1, 2, 4], 17)):
        with pytest.raises(Refused, match=f"holds nan in row {named}: "):
            check_rows(samples, np.array(rows))


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_labels_become_a_vector_of_int64(shape):
    labels = check_labels(np.arange(5, dtype=np.uint8).reshape(shape), 5, "x")
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert labels.dtype == np.int64


@pytest.mark.parametrize("labels", [np.arange(4), np.zeros((5, 2), int), np.zeros(5), np.array(list("abcde"))])
def test_other_labels_are_refused(labels):
    with pytest.raises(Refused, match="one whole number for each of the 5 samples"):
        check_labels(labels, 5, "x")


def resident_bytes(path: Path) -> int:
    """How much of a memory-mapped file this process has read: its pages in memory, as Linux counts them."""
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    return sum(1024 * int(re.search(r"^Rss: +(\d+) kB", one, re.MULTILINE)[1]) for one in maps if str(path) in one)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="counts pages as Linux does")
def test_a_rank_reads_its_own_rows_of_a_file_and_no_others(tmp_path, monkeypatch):
    """A file of 4 GiB, all holes on the disk, on rank 3 of 64."""
    path, rows, row_bytes = tmp_path / "large.npy", 4096, 1 << 20
    np.lib.format.open_memmap(path, "w+", np.float32, (rows, row_bytes // 4)).flush()
    world = World(rank=3, size=64)
    source = load(str(path), world, validation_split=0.25)
    assert source.train.count == 3072
    assert resident_bytes(path) < 1 << 20  # loading reads nothing
    fingerprint(source)
    assert resident_bytes(path) < 8 * row_bytes  # six rows, and the pages around them that Linux maps along
    indices = plan_epoch("shuffled", source.train.count, world, 16, 0, 0).indices
    with monkeypatch.context() as patch:
        patch.setattr("hvd_ae.data.samples._let_go_of_pages", lambda values: None)
        assert check_rows(source.train, indices) == (0.0, 0.0)
    own = len(indices) * row_bytes
    assert own <= resident_bytes(path) < 1.5 * own
    source.train.rows(indices[:1])
    assert resident_bytes(path) == 0, "what has been read is let go of"


def test_scattered_rows_of_a_file_are_let_go_of_a_few_at_a_time(tmp_path, monkeypatch):
    """Else a call of 50 steps would map 2 MB for each of its thousands of rows: most of a file of some GB."""
    np.save(tmp_path / "data.npy", np.arange(12_000, dtype=np.float32).reshape(4000, 3))
    samples = read_npy(tmp_path / "data.npy", "data")
    indices, pieces = np.random.default_rng(0).permutation(4000)[:1000], []
    monkeypatch.setattr("hvd_ae.data.samples._let_go_of_pages", pieces.append)
    np.testing.assert_array_equal(samples.rows(indices), indices[:, np.newaxis] * 3.0 + np.arange(3))
    assert len(pieces) == 8  # 128 rows each
    samples.rows(np.arange(1000))
    assert len(pieces) == 9  # consecutive ones are mapped once anyway
