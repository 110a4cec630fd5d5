"""TFRecord files as TensorFlow writes them, read without it; and what is done to them."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from hvd_ae.data.formats import crc32c, record_index, tfrecord
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, TARGETS
from hvd_ae.errors import Refused
from tests.unit.data.formats import assert_holds, opened

# In a process of its own: a file is written by the library that users write theirs with, and read without it.
WRITER = """
import sys, numpy as np, tensorflow as tf
arrays = dict(np.load("arrays.npz"))
def feature(values):
    if values.dtype == np.uint8:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[values.tobytes()]))
    if values.dtype == np.int64:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.ravel()))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.ravel()))
def write(name, names, compression="", first=0, lengths=None):
    with tf.io.TFRecordWriter(name, compression) as writer:
        for i in range(first, len(arrays["x"])):
            held = {n: feature(arrays[n][i]) for n in names}
            if lengths:
                held["x"] = feature(arrays["x"][i][: lengths[i]])
            if lengths and not lengths[i]:
                del held["x"]
            writer.write(tf.train.Example(features=tf.train.Features(feature=held)).SerializeToString())
write("plain.tfrecord", arrays)
write("packed.tfrecord.gz", arrays, "GZIP")
write("gz-by-content.tfrecord", arrays, "GZIP")
write("x.tfrecord-00000-of-00001", ["x", "y"])
write("floats.tfrecord", ["x", "other", "y"])
write("alike.tfrecord", ["x", "alike"])
write("pixels.tfrecord", ["pixels", "y"])
write("empty.tfrecord", ["x"], first=len(arrays["x"]))
write("ragged.tfrecord", ["x", "y"], lengths=[7] * 100 + [3] + [7] * 1000)
write("missing.tfrecord", ["x", "y"], lengths=[7] * 200 + [0] + [7] * 1000)
with tf.io.TFRecordWriter("text.tfrecord") as writer:
    writer.write(b"no Example at all")
with tf.io.TFRecordWriter("crc.tfrecord") as writer:
    for length in [*range(70), 127, 128, 129, 1000, 6687, 6688, 6689, 30_000]:
        writer.write(arrays["noise"].tobytes()[:length])
"""
COUNT = 450
RANDOM = np.random.default_rng(0)
ARRAYS = {
    "x": RANDOM.normal(size=(COUNT, 7)).astype(np.float32),
    "other": RANDOM.normal(size=(COUNT, 1000)).astype(np.float32),
    "alike": RANDOM.normal(size=(COUNT, 7)).astype(np.float32),
    "y": RANDOM.integers(-3, 70_000, size=COUNT),
    "small": np.arange(COUNT) % 5,
    "wide": RANDOM.integers(-(2**62), 2**62, size=(COUNT, 5)) >> RANDOM.integers(62, size=(COUNT, 5)),
    "pixels": RANDOM.integers(256, size=(COUNT, 12), dtype=np.uint8),
    "noise": RANDOM.integers(256, size=(COUNT, 40), dtype=np.uint8),
}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    np.savez(folder / "arrays.npz", **ARRAYS)
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", WRITER], cwd=folder, check=True, env=quiet)
    return folder


@pytest.fixture
def plain(written, tmp_path):
    """A file of one's own."""
    path = tmp_path / "a.tfrecord"
    path.write_bytes((written / "plain.tfrecord").read_bytes())
    return path


@pytest.mark.parametrize("file, again", [
    ("plain.tfrecord", False), ("plain.tfrecord", True),  # with the index of the first time
    ("packed.tfrecord.gz", False), ("gz-by-content.tfrecord", False)])
def test_every_kind_of_feature_is_read(written, file, again):
    for name in ("x", "other", "wide", "pixels"):
        values = ARRAYS[name].astype(np.float32) if name == "wide" else ARRAYS[name]
        assert_holds(opened(f"{written / file}:{name}"), values)
    source = opened(f"{written / file}:x", beside={LABELS: "y", TARGETS: "other", CONDITION: "pixels"})
    for field, name in ((SAMPLES, "x"), (LABELS, "y"), (TARGETS, "other"), (CONDITION, "pixels")):
        assert_holds(source, ARRAYS[name], field)
    assert_holds(opened(f"{written / file}:x", beside={LABELS: "small"}), ARRAYS["small"], LABELS)
    assert (written / f"{file}.index").exists()
    assert (len(source.block_starts) > 7) if file.startswith("plain") else len(source.block_starts) == 1  # 2.1 MB


def test_what_the_samples_are_where_it_is_not_said(written):
    assert_holds(opened(written / "x.tfrecord-00000-of-00001"), ARRAYS["x"])
    assert_holds(opened(written / "floats.tfrecord"), ARRAYS["other"])
    assert_holds(opened(written / "floats.tfrecord", beside={TARGETS: "other"}), ARRAYS["x"])
    assert_holds(opened(written / "pixels.tfrecord"), ARRAYS["pixels"])
    with pytest.raises(Refused, match=r"holds alike \(7 floats\), x \(7 floats\): write which.*alike.tfrecord:FEATURE"):
        opened(written / "alike.tfrecord")


def test_checksums_are_those_of_tensorflow(written):
    data = (written / "crc.tfrecord").read_bytes()
    starts, lengths = record_index.frames(data)
    assert len(starts) == 78
    ends = np.frombuffer(data, np.uint8), starts + lengths
    np.testing.assert_array_equal(crc32c.masked(ends[0], starts, lengths), record_index.uint32_at(*ends))


def test_an_index_is_kept_and_made_anew_where_the_file_is_another(plain, written, monkeypatch):
    opened(f"{plain}:x")
    index, built = plain.with_name("a.tfrecord.index"), record_index._built
    monkeypatch.setattr(record_index, "_built", None)
    opened(f"{plain}:x")
    monkeypatch.setattr(record_index, "_built", built)
    for content in (b"", b"\x93NUMPY", index.read_bytes()[:-8], bytes(len(index.read_bytes())), np.random.bytes(99)):
        index.write_bytes(content)
        assert_holds(opened(f"{plain}:x"), ARRAYS["x"])
    changed = bytearray(index.read_bytes())
    changed[-9] ^= 1
    index.write_bytes(changed)
    assert_holds(opened(f"{plain}:x"), ARRAYS["x"])
    plain.write_bytes((written / "floats.tfrecord").read_bytes())
    assert_holds(opened(f"{plain}:x"), ARRAYS["x"])


def test_a_folder_that_cannot_be_written_needs_no_index(plain, monkeypatch):
    def refuse(**_):
        raise PermissionError
    monkeypatch.setattr(record_index.tempfile, "mkstemp", refuse)
    assert_holds(opened(f"{plain}:x"), ARRAYS["x"])
    assert [path.name for path in plain.parent.iterdir()] == ["a.tfrecord"]


def test_no_array_is_as_long_as_the_number_of_records(written):
    index = record_index.of_file(written / "x.tfrecord-00000-of-00001")
    assert (index.count, len(index.starts), len(index.offsets)) == (COUNT, 1, 2)


@pytest.mark.parametrize(("file", "given", "sentence"), [
    ("plain.tfrecord:nothing", {}, r"no feature 'nothing'.*pixels \(12 bytes\), small \(1 integers\).*x \(7 floats"),
    ("plain.tfrecord:x", {"beside": {LABELS: "z"}}, "labels='z'.*no feature 'z'"),
    ("plain.tfrecord:x", {"beside": {LABELS: "wide"}}, r"labels='wide' holds values of shape \(450, 5\)"),
    ("plain.tfrecord:x", {"beside": {LABELS: "x"}}, "labels='x' holds values of shape .* float32"),
    ("empty.tfrecord", {}, "holds no records"), ("text.tfrecord", {}, "first record is no tf.train.Example"),
    ("gone.tfrecord", {}, "cannot be read .No such file"),
])
def test_what_is_refused_at_the_start(written, file, given, sentence):
    with pytest.raises(Refused, match=sentence):
        opened(written / file, **given)


@pytest.mark.parametrize(("file", "sentence"), [
    ("ragged.tfrecord", "record 100 holds 3 values of type float32 in 'x', where the first holds 7: every record must"),
    ("missing.tfrecord", "record 200 holds 0 values .* in 'x', where the first holds 7"),
])
def test_features_of_another_length_are_refused_by_record(written, file, sentence):
    source = opened(f"{written / file}:x")
    with pytest.raises(Refused, match=sentence):
        source.read(np.array([150]), [SAMPLES])
    assert_holds(opened(f"{written / file}:y", beside={}), ARRAYS["y"].astype(np.float32)[:, None])


def test_damage_is_refused_by_record(plain):
    content = plain.read_bytes()
    starts, lengths = record_index.frames(content)
    for place, sentence in ((int(starts[5] + lengths[5] // 2), "record 5 is damaged: its checksum is another"),
                            (int(starts[6] - 12), "the length of record 6 is damaged"),
                            (int(starts[7] - 2), "the length of record 7 is damaged"),
                            (int(starts[8] + lengths[8] + 1), "record 8 is damaged")):
        changed = bytearray(content)
        changed[place] ^= 4
        plain.write_bytes(changed)
        with pytest.raises(Refused, match=sentence):
            opened(f"{plain}:x").read_all(SAMPLES)
    for end, record in ((len(content) - 1, COUNT - 1), (int(starts[50]) + 9, 50), (int(starts[50]) - 3, 50)):
        plain.write_bytes(content[:end])
        with pytest.raises(Refused, match=f"is no whole TFRecord file .truncated in record {record}.: copy or write it anew"):
            opened(f"{plain}:x")


def test_a_file_that_is_replaced_is_refused(plain):
    source = opened(f"{plain}:x")
    content = plain.read_bytes()
    plain.unlink()
    plain.write_bytes(content)
    with pytest.raises(Refused, match="a.tfrecord has changed since this run opened it"):
        source.read(np.array([3]), [SAMPLES])


@pytest.mark.parametrize("compressed", [False, True])
def test_a_mutated_file_is_refused_or_right(written, tmp_path, compressed):
    name = "packed.tfrecord.gz" if compressed else "x.tfrecord-00000-of-00001"
    content, chance, refusals = (written / name).read_bytes(), random.Random(5), 0
    content = content[: 100_000] if not compressed else content
    for number in range(30):
        path = tmp_path / f"{number}{'.tfrecord.gz' if compressed else '.tfrecord'}"
        changed = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 8])):
            changed[chance.choice([chance.randrange(len(changed)), chance.randrange(60)])] = chance.randrange(256)
        path.write_bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.2 else changed)
        try:
            np.testing.assert_array_equal(opened(f"{path}:x").read_all(SAMPLES), ARRAYS["x"])
        except Refused as refusal:
            refusals += 1
            assert str(path) in str(refusal) and "\n" not in str(refusal)
    assert refusals > 20


def test_names(tmp_path):
    for name in ("a.tfrecord", "a.tfrecords", "a.tfrecord.gz", "a.b.tfrecord-00003-of-00010"):
        assert tfrecord.reads(tmp_path / name)
    for name in ("a.tfrecord.index", "tfrecord", "a.tfrecord-x"):
        assert not tfrecord.reads(tmp_path / name)
