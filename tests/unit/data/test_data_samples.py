"""Rows as the training reads them, from memory and from memory-mapped files."""

import re
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.checks import Range, check_some, check_values
from hvd_ae.data.epoch_plan import plan_epoch
from hvd_ae.data.formats import npy
from hvd_ae.data.load import fingerprint, load
from hvd_ae.data.partition import Partition
from hvd_ae.data.source import SAMPLES, Field, WithField
from hvd_ae.data.spec import Spec, check_labels
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

ANY = Range()


def read(source, indices, field=SAMPLES):
    return source.read(np.array(indices, np.int64), [field])[field]


@pytest.mark.parametrize("indices", [[3, 4, 5, 6], [5, 0, 9, 9], [2], [], [4, 3], [0, 2]])
@pytest.mark.parametrize(("dtype", "expected"), [
    ("uint8", "uint8"), ("int16", "float32"), ("bool", "float32"), ("float16", "float32"), (">f4", "float32"),
    ("float64", "float32"), ("int64", "float32"),
])
def test_rows_are_new_contiguous_and_in_order(indices, dtype, expected):
    values = np.arange(10 * 6).reshape(10, 3, 2).astype(dtype)
    source = from_arrays("x", values)
    rows = read(source, indices)
    assert rows.dtype == source.fields[SAMPLES].dtype == expected
    assert rows.flags.c_contiguous
    assert type(rows) is np.ndarray
    assert rows.shape == (len(indices), 3, 2)
    assert np.array_equal(rows, values[np.array(indices, int)].astype(np.float32))
    rows[:] = 1
    assert np.array_equal(values, np.arange(10 * 6).reshape(10, 3, 2).astype(dtype))


def test_bytes_are_scaled_to_the_unit_interval_and_floats_are_not():
    values = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(Field.of_values(values).as_seen(values), [[0, 0.2, 1]], rtol=1e-7)
    assert Field.of_values(np.zeros((1, 1), np.uint16)).scale == 1.0


def test_a_field_that_is_added_goes_with_its_samples():
    source = WithField(from_arrays("x", np.arange(6.0)[:, None]), "class", np.arange(6) * 10, Field.of_classes(np.arange(6)))
    got = source.read(np.array([4, 1]), ["class", SAMPLES])
    assert got["class"].tolist() == [40, 10] and got["class"].dtype == np.int64
    assert got[SAMPLES].ravel().tolist() == [4.0, 1.0]
    assert list(source.read(np.array([4]), ["class"])) == ["class"]


def test_blocks_cover_all_samples():
    starts = from_arrays("x", np.zeros((10, 3 << 20), np.float32)).block_starts  # 12 MB each: one a block
    assert starts.tolist() == list(range(10))
    assert from_arrays("x", np.zeros((10, 2))).block_starts.tolist() == [0]


def test_values_outside_what_a_task_allows_are_refused_with_their_range():
    source = from_arrays("x", np.array([[9.0, 9.0], [0.25, 0.5], [-1.0, 0.75], [99.0, -99.0]]))
    unit = Range(0.0, 1.0, "but a sigmoid stays within 0 to 1: rescale the data")
    with pytest.raises(Refused, match=r"^data='x' holds values from -1 to 0.75, but a sigmoid stays within 0 to 1: rescale"):
        check_some(source, np.array([2, 1]), SAMPLES, unit)
    check_some(source, np.array([1]), SAMPLES, unit)
    check_some(source, np.array([], np.int64), SAMPLES, unit)
    check_some(from_arrays("x", np.array([[0, 255]], np.uint8)), np.array([0]), SAMPLES, unit)
    with pytest.raises(Refused, match="holds values from 0.2 to 0.4, but"):
        check_some(from_arrays("x", np.array([[51, 102]], np.uint8)), np.array([0]), SAMPLES, Range(0.0, 0.3, "but"))


def test_before_the_first_step_a_bounded_part_is_looked_at(monkeypatch):
    monkeypatch.setattr("hvd_ae.data.checks._BYTES_LOOKED_AT", 4 * 8)  # four samples
    values = np.zeros((10, 1))
    values[7] = np.nan
    source = from_arrays("x", values)
    check_some(source, np.arange(10), SAMPLES, ANY)
    with pytest.raises(Refused, match="holds nan in sample 7"):
        check_some(source, np.array([1, 7, 2]), SAMPLES, ANY)
    with pytest.raises(Refused, match="holds nan in sample 7"):  # as it comes
        check_values(read(source, [3, 7]), np.array([3, 7]), source, SAMPLES, ANY)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "inf")])
def test_what_is_not_finite_is_refused_with_its_sample(value, word, monkeypatch):
    monkeypatch.setattr("hvd_ae.data.checks._BYTES_AT_A_TIME", 4 * 3 * 8)  # four samples
    for row in range(11):
        values = np.zeros((11, 3))
        values[row, 2] = value
        source = from_arrays("mine.npy", values)
        with pytest.raises(Refused, match=rf"'mine\.npy' holds {word} in sample {row}, feature 2: .*finite"):
            check_some(source, np.random.default_rng(0).permutation(11), SAMPLES, ANY)
        check_some(source, np.delete(np.arange(11), row), SAMPLES, ANY)


def test_a_sample_is_named_by_its_place_in_the_users_file(tmp_path):
    """Among some of the rows, and among validation rows, which are the file's last."""
    values = np.zeros((20, 3), np.float32)
    values[[6, 17], 1] = np.nan
    np.save(tmp_path / "mine.npy", values)
    source = load(str(tmp_path / "mine.npy"), World(), validation_split=0.25)
    for part, rows, named in ((source.train, [9, 6, 3], 6), (source.validation, [1, 2, 4], 17)):
        with pytest.raises(Refused, match=f"holds nan in sample {named}, feature 1: "):
            check_some(part, np.array(rows), SAMPLES, ANY)


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
    indices = plan_epoch(Partition("shuffled", source.train.count, 0), world, 16, 0).indices
    with monkeypatch.context() as patch:
        patch.setattr("hvd_ae.data.arrays._let_go_of_pages", lambda values: None)
        check_some(source.train, indices, SAMPLES, ANY)
    own = len(indices) * row_bytes
    assert own <= resident_bytes(path) < 1.5 * own
    read(source.train, indices[:1])
    assert resident_bytes(path) == 0, "what has been read is let go of"


def test_scattered_rows_of_a_file_are_let_go_of_a_few_at_a_time(tmp_path, monkeypatch):
    """Else a call of 50 steps would map 2 MB for each of its thousands of rows: most of a file of some GB."""
    np.save(tmp_path / "data.npy", np.arange(12_000, dtype=np.float32).reshape(4000, 3))
    source = npy.read(Spec("data", tmp_path / "data.npy"))
    indices, pieces = np.random.default_rng(0).permutation(4000)[:1000], []
    monkeypatch.setattr("hvd_ae.data.arrays._let_go_of_pages", pieces.append)
    np.testing.assert_array_equal(read(source, indices), indices[:, np.newaxis] * 3.0 + np.arange(3))
    assert len(pieces) == 8  # 128 rows each
    read(source, np.arange(1000))
    assert len(pieces) == 9  # consecutive ones are mapped once anyway
