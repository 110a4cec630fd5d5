"""From a name or a path to samples, and one sentence for each way in which that can fail."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.load import fingerprint, load, load_all
from hvd_ae.data.source import LABELS, SAMPLES, Splits
from hvd_ae.data.synthetic import make_samples
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

MNIST = Path(__file__).parents[2] / "data" / "mnist"
ROWS = np.arange(40, dtype=np.float32).reshape(20, 2)


def load_one(data, **given):
    return load(str(data), given.pop("world", World()), given.pop("validation_split", None), **given)


def values(source):
    return source.read_all(SAMPLES)


def labels(source):
    return source.read_all(LABELS)


def saved(path, array, **given):
    np.save(path, array, **given)
    return str(path)


def test_digits():
    source = load_one("digits")
    assert (source.train.count, source.validation.count) == (1500, 297)
    assert source.train.fields[SAMPLES].shape == (8, 8)
    assert source.train.fields[SAMPLES].dtype == np.float32
    # together the samples of scikit-learn, each once
    from sklearn.datasets import load_digits

    both = np.concatenate([values(source.train), values(source.validation)]).reshape(-1, 64) * 16
    assert np.array_equal(np.unique(both, axis=0), np.unique(load_digits().data, axis=0))
    assert np.array_equal(values(load_one("digits", seed=7).train), values(source.train))
    assert np.bincount(np.concatenate([labels(source.train), labels(source.validation)])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as scikit-learn's documentation has them


@pytest.mark.parametrize(("data", "count", "shape"), [
    ("synthetic", 4096, (784,)), ("synthetic:10x3", 10, (3,)), ("synthetic:2500x4x5x3", 2500, (4, 5, 3)),
])
def test_synthetic_has_the_shape_that_is_asked_for(data, count, shape):
    source = load_one(data)
    assert (source.train.count, source.validation.count) == (count - max(1, count // 10), max(1, count // 10))
    assert source.train.fields[SAMPLES].shape == shape
    for part in (source.train, source.validation):
        assert values(part).dtype == np.float32
        assert 0 <= values(part).min() < values(part).max() <= 1
        assert set(labels(part)) <= set(range(10))


def test_synthetic_samples_depend_on_seed_and_position_alone():
    values, labels = make_samples(0, 3000, (50,), seed=1)
    for start, stop in ((0, 1500), (1000, 2500), (2100, 2101), (2048, 3000)):
        some, some_labels = make_samples(start, stop, (50,), seed=1)
        assert np.array_equal(values[start:stop], some)
        assert np.array_equal(labels[start:stop], some_labels)
    assert len(np.unique(values, axis=0)) == 3000  # none repeats another
    assert not np.array_equal(make_samples(0, 10, (50,), seed=2)[0], values[:10])


def test_synthetic_has_something_to_find():
    """Ten factors, bent by the sigmoid: thirty of 196 directions hold nearly all the variance."""
    values, _ = make_samples(0, 512, (196,), seed=0)
    centred = values - values.mean(axis=0)
    energies = np.linalg.svd(centred, compute_uv=False) ** 2
    assert energies[:30].sum() / energies.sum() > 0.9
    assert values.std() > 0.2


@pytest.mark.parametrize(("rows", "split"), [(10, 0.1), (15, 0.1), (5, 0.1), (3, 0.5), (100, 0.333)])
def test_the_split_is_that_of_keras(tmp_path, rows, split):
    path = saved(tmp_path / "a.npy", np.zeros((rows, 2)))
    assert load_one(path, validation_split=split).train.count == int(np.floor(rows * (1 - split)))


def test_an_idx_file_by_path_takes_the_labels_beside_it():
    source = load_all(str(MNIST / "t10k-images-idx3-ubyte.gz"))
    assert values(source).shape == (10_000, 28, 28)
    assert labels(source)[:4].tolist() == [7, 2, 1, 0]


def test_validation_data_of_their_own(tmp_path):
    train, validation = saved(tmp_path / "t.npy", ROWS), saved(tmp_path / "v.npy", ROWS[:3] + 0.5)
    source = load_one(train, validation_data=validation)
    assert (source.train.count, source.validation.count) == (20, 3)
    assert np.array_equal(values(source.validation), ROWS[:3] + 0.5)


def test_fingerprints_tell_different_data_apart():
    def print_of(values, labels=None):
        source = from_arrays("x", values, labels)
        return tuple(fingerprint(Splits(source, source)))

    odd_end = ROWS.copy()
    odd_end[-1, -1] = np.nan
    different = [
        print_of(ROWS), print_of(ROWS[:-1]), print_of(ROWS.reshape(10, 4)), print_of(ROWS.reshape(20, 2, 1)),
        print_of(odd_end), print_of(ROWS.astype(np.uint8)),
        print_of(ROWS, np.zeros(20, np.int64)), print_of(ROWS, np.ones(20, np.int64)),
    ]
    assert len(set(different)) == len(different)
    assert len({len(one) for one in different}) == 1
    assert print_of(odd_end) == print_of(odd_end.copy())  # NaN is for `checks` to refuse
    assert print_of(ROWS) == print_of(ROWS.astype(np.float64)) == print_of(ROWS.astype(np.int32))  # what is read is the same


def test_images_and_labels_of_different_count_are_refused(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte.gz").symlink_to(MNIST / "t10k-images-idx3-ubyte.gz")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\1" + b"\0\0\0\2" + b"\7\2"))
    with pytest.raises(Refused, match="holds 10000 images but .* 2 labels"):
        load_one(tmp_path / "t10k-images-idx3-ubyte.gz")


@pytest.mark.parametrize(("data", "sentence"), [
    ("cifar", "'cifar' is not known: use digits, mnist, fashion-mnist, synthetic, .*npz"),
    ("mine.mat", "'mine.mat' is not known"),
    ("synthetic:10", "of the form synthetic:COUNTxDIM"), ("synthetic:10x", "of the form"),
    ("synthetic:9x0", "of the form"),
    ("synthetic:1x5", "at least two"),
])
def test_names_that_are_refused(data, sentence):
    with pytest.raises(Refused, match=sentence):
        load_one(data)


def test_fewer_samples_than_ranks_are_refused():
    assert load_one("synthetic:10x3", world=World(8, 9)).train.count == 9
    with pytest.raises(Refused, match="has 9 training samples for 10 ranks.*fewer ranks"):
        load_one("synthetic:10x3", world=World(0, 10))


def test_validation_data_that_do_not_fit_are_refused(tmp_path):
    path, other = saved(tmp_path / "a.npy", ROWS), saved(tmp_path / "b.npy", ROWS.reshape(10, 4))
    with pytest.raises(Refused, match=rf"validation_data='{other}' has samples of shape \(4,\), .* of \(2,\)"):
        load_one(path, validation_data=other)
    for name in ("digits", "synthetic:20x2"):
        for given in ({"validation_data": path}, {"validation_split": 0.2}):
            with pytest.raises(Refused, match="has no effect"):
                load_one(name, **given)
    with pytest.raises(Refused, match="validation_split=0.2 has no effect with validation_data="):
        load_one(path, validation_data=path, validation_split=0.2)


def test_nothing_heavy_is_imported():
    """`hvd-ae --help` stays fast, and NumPy files need neither scikit-learn nor a network library."""
    code = ("import sys, hvd_ae.data.feed, hvd_ae.data.load; "
            "heavy = ('tensorflow', 'keras', 'sklearn', 'pooch', 'requests', 'mpi4py', 'pyarrow', 'tensorstore'); "
            "print([m for m in heavy if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
