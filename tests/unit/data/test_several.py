"""Several files are one data set, in the order of their names, whatever their lengths."""

import os
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data import open as opening
from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.formats import several
from hvd_ae.data.load import load
from hvd_ae.data.open import files_of
from hvd_ae.data.source import LABELS, SAMPLES, TARGETS, BlockSource, Field, Splits
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World
from tests.unit.data.formats import assert_holds, opened

LENGTHS = (5, 1, 30, 12)
SAMPLES_OF = [np.random.default_rng(n).normal(size=(length, 3)).astype(np.float32) for n, length in enumerate(LENGTHS)]
ALL = np.concatenate(SAMPLES_OF)
CLASSES = np.arange(len(ALL)) % 7


@pytest.fixture
def folder(tmp_path):
    first = 0
    for number in (2, 0, 3, 1):  # written in another order than that of the names
        np.save(tmp_path / f"sim_{number}.npy", SAMPLES_OF[number])
    for number, values in enumerate(SAMPLES_OF):
        np.save(tmp_path / f"sim_{number}.labels.npy", CLASSES[first : first + len(values)])
        first += len(values)
    (tmp_path / "README").write_text("not a sample")
    return tmp_path


@pytest.mark.parametrize("how", ["{0}", "{0}/", "{0}/sim_*.npy", "{0}/*", "{0}/sim_[0-9].npy",
                                 "{0}/sim_1.npy,{0}/sim_0.npy,{0}/sim_3.npy,{0}/sim_2.npy", "{0}/sim_[01].npy,{0}/sim_[23].*"])
def test_the_files_that_are_meant(folder, how):
    source = opened(how.format(folder))
    assert_holds(source, ALL)
    assert_holds(source, CLASSES, LABELS)
    assert source.reads_single_samples
    assert source.block_starts.tolist() == [0, 5, 6, 36]
    assert set(files_of(how.format(folder))) == {path for path in folder.iterdir() if path.name != "README"}


def test_a_message_names_file_and_sample(folder):
    source = opened(folder)
    assert [source.number(index) for index in (0, 5, 7)] == [
        f"0 of {folder}/sim_0.npy", f"0 of {folder}/sim_1.npy", f"1 of {folder}/sim_2.npy"]
    assert load(str(folder), World()).validation.number(0) == f"7 of {folder}/sim_3.npy"


def test_archives_with_members_and_test_sets(tmp_path):
    for number, values in enumerate(SAMPLES_OF):
        np.savez(tmp_path / f"{number}.npz", x_train=values, x_test=-values[:1], other=values + 1)
    whole = load(f"{tmp_path}/*.npz", World())
    assert_holds(whole.train, ALL)
    assert_holds(whole.validation, np.stack([-values[0] for values in SAMPLES_OF]))
    assert_holds(opened(f"{tmp_path}/*.npz:other"), ALL + 1)
    assert_holds(opened(f"{tmp_path}:other"), ALL + 1)
    assert_holds(opened(f"{tmp_path}/0.npz,{tmp_path}/1.npz:other", beside={TARGETS: "x_train"}), ALL[:6], TARGETS)


def test_labels_in_a_file_or_as_many(folder):
    np.save(folder.parent / "labels.npy", CLASSES + 1)
    assert_holds(opened(f"{folder}/sim_?.npy", beside={LABELS: f"{folder.parent}/labels.npy"}), CLASSES + 1, LABELS)
    for path in folder.glob("*.labels.npy"):
        path.rename(folder / f"classes_{path.name[4]}.npy")
    source = opened(f"{folder}/sim_?.npy", beside={LABELS: f"{folder}/classes_?.npy"})
    assert_holds(source, CLASSES, LABELS)


class Text(BlockSource):
    """Decoded as a whole, with classes that are text."""

    def __init__(self, path: Path, names: tuple[str, ...]):
        self.numbers = np.array([int(number) for number in path.read_text().split()])
        fields = {SAMPLES: Field((1,), np.dtype(np.float32)), LABELS: Field((), np.dtype(np.int64), names=names)}
        super().__init__(str(path), fields, len(self.numbers), np.arange(0, len(self.numbers), 2), [path])

    def _decode(self, block, fields):
        numbers = self.numbers[slice(*self.block_range(block))]
        made = {SAMPLES: numbers.astype(np.float32)[:, None], LABELS: numbers}
        return {name: made[name] for name in fields}


def texts(folder: Path, *names: tuple[str, ...]) -> several.Several:
    paths = [folder / f"{number}.text" for number in range(len(names))]
    for number, path in enumerate(paths):
        path.write_text("0 1 -1" + " 1 0" * number)
    return several.read("texts", paths, lambda path: [path], lambda path: Text(path, names[int(path.stem)]))


def test_classes_have_one_number_in_all_files(tmp_path):
    source = texts(tmp_path, ("cat", "dog"), ("bee", "cat"), ("dog", "ant"))
    assert source.fields[LABELS].names == ("ant", "bee", "cat", "dog")
    assert_holds(source, np.array([2, 3, -1, 1, 2, -1, 2, 1, 3, 0, -1, 0, 3, 0, 3]), LABELS)
    assert source.fields[SAMPLES].shape == (1,)
    assert not source.reads_single_samples
    assert source.block_starts.tolist() == [0, 2, 3, 5, 7, 8, 10, 12, 14]
    alike = texts(tmp_path, ("z", "a"), ("z", "a"))
    assert alike.fields[LABELS].names == ("z", "a")
    assert alike.read_all(LABELS).tolist() == [0, 1, -1, 0, 1, -1, 1, 0]
    with pytest.raises(Refused, match="1.text has labels .* int64, and .*0.text, the first file, labels .* text"):
        texts(tmp_path, ("z", "a"), ())


def test_few_files_stay_open(tmp_path):
    source = texts(tmp_path, *[("a", "b")] * 20)
    assert not source._open
    source.read_all(SAMPLES)
    assert len(source._open) == several._KEPT_DECODED
    for number in range(200):
        np.save(tmp_path / f"{number:03}.npy", np.full((3, 2), number, np.float32))
    before, source = len(os.listdir("/proc/self/fd")), opened(tmp_path)
    assert_holds(source, np.repeat(np.arange(200, dtype=np.float32), 3)[:, None].repeat(2, 1))
    assert len(os.listdir("/proc/self/fd")) <= before + several._KEPT_OPEN


def test_archives_stay_in_memory_while_they_fit(tmp_path, monkeypatch):
    for number in range(9):
        np.savez(tmp_path / f"{number}.npz", x=np.full((3, 2), number, np.float32))
    source = opened(tmp_path)
    source.read_all(SAMPLES)
    assert (source.reads_single_samples, len(source._open)) == (True, 9)
    monkeypatch.setattr(several, "_IN_MEMORY", 100)
    source = opened(tmp_path)
    source.read_all(SAMPLES)
    assert (source.reads_single_samples, len(source._open)) == (False, several._KEPT_DECODED)


def test_an_integer_file_beside_one_of_floats_will_do(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4.0).reshape(2, 2))
    np.save(tmp_path / "b.npy", np.arange(4, 8).reshape(2, 2))
    assert_holds(opened(tmp_path), np.arange(8, dtype=np.float32).reshape(4, 2))


@pytest.mark.parametrize(("other", "sentence"), [
    (np.zeros((2, 4), np.float32), r"samples of shape \(4,\) .* and .*sim_0.npy, the first file, samples of shape \(3,\)"),
    (np.zeros((2, 3), np.uint8), "samples of shape .3,. and type uint8, and .*sim_0.npy, the first file, .* float32"),
    (SAMPLES_OF[1], "has no labels, and .*sim_0.npy, the first file, labels of shape"),
    (np.zeros(2), "samples need a first dimension"),
])
def test_a_file_that_differs_is_named(folder, other, sentence):
    np.save(folder / "sim_7.npy", other)
    if "no labels" not in sentence:
        np.save(folder / "sim_7.labels.npy", np.arange(len(other)))
    with pytest.raises(Refused, match=f"sim_7.npy.*{sentence}"):
        opened(folder)


def test_a_file_that_is_replaced_is_named(folder):
    source = opened(folder)
    (folder / "sim_2.npy").unlink()
    np.save(folder / "sim_2.npy", SAMPLES_OF[2])
    assert source.read(np.array([0]), [SAMPLES])[SAMPLES].tolist() == ALL[:1].tolist()
    with pytest.raises(Refused, match="sim_2.npy has changed since this run opened it: start again"):
        source.read(np.array([10]), [SAMPLES])


def test_what_is_refused(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for data in (f"{folder}/nothing_*.npy", f"{folder}/nothing_*.npy:x", empty, f"{folder}/REA*"):
        with pytest.raises(Refused, match=r"stands for no file that is there and is .npy.*quote it"):
            opened(data)
    with pytest.raises(Refused, match=r"names .*sim_0.npy twice"):
        opened(f"{folder}/sim_0.npy,{folder}/sim_?.npy")
    with pytest.raises(Refused, match="gone.npy' cannot be read"):
        opened(f"{folder}/sim_0.npy,{folder}/gone.npy")
    np.savez(folder / "more.npz", x=ALL)
    with pytest.raises(Refused, match="files of several formats, as .*more.npz and .*sim_0.npy: name those of one"):
        opened(folder)
    np.savez(empty / "a.npz", x_train=ALL, x_test=ALL)
    np.savez(empty / "b.npz", x=ALL)
    with pytest.raises(Refused, match="b.npz brings no test samples, as .*a.npz does"):
        opened(empty)
    assert isinstance(load(f"{empty}/a.npz", World()), Splits)
    with pytest.raises(Refused, match="is not known"):
        opened("")


def test_a_path_that_is_there_is_one_file(tmp_path):
    for name in ("a,b.npy", "x[1].npy", "y*.npy"):
        np.save(tmp_path / name, ALL)
        assert isinstance(opened(tmp_path / name), ArraySource)


def test_a_list_may_be_longer_than_a_path(folder):
    data = ",".join([f"{folder}/sim_0.npy", *[f"{folder}/./{'./' * n}sim_{n}.npy" for n in (1, 2, 3)]])
    assert opened(data).count == len(ALL)
    assert len(opening.files_of(",".join([f"{folder}/{n:0100}.npy" for n in range(100)]))) == 200
