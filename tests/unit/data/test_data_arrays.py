"""NumPy files: mapped, split, and refused in one sentence for each way in which they can be bad."""

from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.load import load, load_all
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

ROWS = np.arange(40, dtype=np.float32).reshape(20, 2)


def load_one(data, **given):
    return load(str(data), given.pop("world", World()), given.pop("validation_split", None), **given)


def saved(path, array, **given):
    np.save(path, array, **given)
    return str(path)


def test_npy_is_mapped_and_its_last_rows_validate(tmp_path):
    path = saved(tmp_path / "mine.npy", ROWS)
    np.save(tmp_path / "mine.labels.npy", np.arange(20, dtype=np.int8))
    source = load_one(path, validation_split=0.25)
    mapped = load_all(path).arrays[SAMPLES]
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert np.array_equal(source.train.read_all(SAMPLES), ROWS[:15])
    assert np.array_equal(source.validation.read_all(SAMPLES), ROWS[15:])
    assert source.train.read_all(LABELS).tolist() == list(range(15))
    assert source.validation.read_all(LABELS).tolist() == list(range(15, 20))


@pytest.mark.parametrize("array", [np.asfortranarray(ROWS), ROWS.astype(">f8"), ROWS.astype(np.uint8), ROWS > 3])
def test_any_order_and_type_of_npy(tmp_path, array):
    source = load_one(saved(tmp_path / "a.npy", array))
    assert np.array_equal(source.train.read(np.array([5, 2]), [SAMPLES])[SAMPLES], array[[5, 2]])


def test_npz_as_keras_has_it(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=ROWS, y_train=np.arange(20), x_test=ROWS[:4] + 1, y_test=np.arange(4), other=np.zeros(3))
    source = load_one(path)
    assert np.array_equal(source.train.read_all(SAMPLES), ROWS)
    assert np.array_equal(source.validation.read_all(SAMPLES), ROWS[:4] + 1)
    assert source.train.read_all(LABELS).tolist() == list(range(20))
    assert source.validation.read_all(LABELS).tolist() == list(range(4))


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train"), ("anything", None)])
def test_npz_without_a_test_set_is_split(tmp_path, names):
    arrays = {names[0]: ROWS} | ({names[1]: np.arange(20)} if names[1] else {})
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    source = load_one(tmp_path / "a.npz")
    assert (source.train.count, source.validation.count) == (18, 2)
    assert (LABELS in source.train.fields) == (names[1] is not None)
    assert load_all(str(tmp_path / "a.npz")).count == 20


def pickled(path):
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


def write_cut(path, array, end):
    np.save(path, array)
    path.write_bytes(path.read_bytes()[:end])


REFUSED_NPY = {
    "truncated": (lambda p: write_cut(p, ROWS, -4), r"truncated: 156 bytes .* needs 160"),
    "cut within the header": (lambda p: write_cut(p, ROWS, 40), "does not begin as a .npy file"),
    "empty file": (lambda p: p.touch(), "does not begin as a .npy file"),
    "text": (lambda p: p.write_text("1, 2, 3\n" * 50), "does not begin as a .npy file"),
    "a broken header": (lambda p: p.write_bytes(b"\x93NUMPY\1\0\x10\0{'descr': (((    "), "does not begin as a .npy"),
    "objects": (pickled, "Python objects, which are never unpickled"),
    "complex": (lambda p: np.save(p, ROWS + 1j), "values of type complex64: samples must be real"),
    "strings": (lambda p: np.save(p, np.array([["a"], ["b"]])), "values of type <U1"),
    "dates": (lambda p: np.save(p, np.zeros((2, 2), "M8[s]")), "values of type datetime64"),
    "records": (lambda p: np.save(p, np.zeros((2, 2), [("a", "f4")])), "values of type"),
    "named records": (lambda p: np.save(p, np.zeros((2, 2), [("a", "f4")])), "samples must be real numbers"),
    "no dimension": (lambda p: np.save(p, np.float32(3)), r"has shape \(\): samples need"),
    "one dimension": (lambda p: np.save(p, np.zeros(7)), r"has shape \(7,\): samples need"),
    "no rows": (lambda p: np.save(p, np.zeros((0, 4))), r"has shape \(0, 4\), which holds no samples"),
    "no features": (lambda p: np.save(p, np.zeros((4, 0))), r"has shape \(4, 0\), which holds no samples"),
    "one row": (lambda p: np.save(p, np.zeros((1, 4))), "has 1 samples, which validation_split=0.1 cannot divide"),
    "missing": (lambda p: None, r"cannot be read \(No such file or directory\): check the path"),
    "a folder": (lambda p: p.mkdir(), r"cannot be read \(Is a directory\)"),
}


@pytest.mark.parametrize("name", REFUSED_NPY)
def test_npy_files_that_are_refused(tmp_path, name):
    write, sentence = REFUSED_NPY[name]
    path = tmp_path / "mine.npy"
    write(path)
    with pytest.raises(Refused, match=f"{path}.*{sentence}"):
        load_one(path)


def damaged_npz(path):
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(50, 50)))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)


REFUSED_NPZ = {
    "cut short": (lambda p: (np.savez(p, x=ROWS), p.write_bytes(p.read_bytes()[:-30])), "no whole .npz file"),
    "damaged": (damaged_npz, "no whole .npz file"),
    "no zip": (lambda p: p.write_text("hello"), "no whole .npz file"),
    "empty file": (lambda p: p.touch(), "no whole .npz file"),
    "a .npy": (lambda p: p.write_bytes(Path(saved(p.with_suffix(".npy"), ROWS)).read_bytes()), "no whole .npz file"),
    "objects": (lambda p: np.savez(p, x=np.array([{}], object)), "never unpickled"),
    "unclear names": (lambda p: np.savez(p, a=ROWS, b=ROWS), "holds the arrays a, b: name the samples x_train or x"),
    "no arrays": (lambda p: np.savez(p), "holds the arrays none"),
    "labels too few": (lambda p: np.savez(p, x=ROWS, y=np.zeros(3, int)), "for each of the 20 samples"),
    "one dimension": (lambda p: np.savez(p, x=np.zeros(5)), "samples need a first dimension"),
    "missing": (lambda p: None, "No such file"),
}


@pytest.mark.parametrize("name", REFUSED_NPZ)
def test_npz_files_that_are_refused(tmp_path, name):
    write, sentence = REFUSED_NPZ[name]
    path = tmp_path / "mine.npz"
    write(path)
    with pytest.raises(Refused, match=f"{path}.*{sentence}"):
        load_one(path)


@pytest.mark.parametrize(("labels", "sentence"), [
    (np.zeros(19, int), "for each of the 20 samples"), (np.zeros(20), "type float64"),
    (np.array([{}] * 20, object), "never unpickled"),
])
def test_labels_beside_npy_that_do_not_fit_are_refused(tmp_path, labels, sentence):
    np.save(tmp_path / "mine.labels.npy", labels, allow_pickle=True)
    with pytest.raises(Refused, match=rf"mine\.labels\.npy.*{sentence}"):
        load_one(saved(tmp_path / "mine.npy", ROWS))
