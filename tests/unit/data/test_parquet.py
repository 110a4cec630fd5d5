"""Parquet and Arrow files: pyarrow writes them, NumPy says what must be read."""

import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from formats import assert_holds, assert_survives_damage, opened

from hvd_ae.data.formats.columns import join_parts
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, TARGETS
from hvd_ae.errors import Refused

CHANCE = np.random.default_rng(1)
VALUES = CHANCE.normal(size=(1000, 6)).astype(np.float32)
CLASSES = CHANCE.integers(3, size=1000)
NAMES = np.array(["wind", "rain", "Sun"])[CLASSES]
SORTED = np.array([2, 1, 0])[CLASSES]  # Sun, rain, wind: by their code points
KINDS = ["a.parquet", "a.feather"]


def write(path, columns, rows=100, **given):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path, row_group_size=rows, **given)
    else:
        pa.feather.write_feather(table, str(path), chunksize=rows, **given)
    return path


def vectors(values):
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])


def columns_of(values):
    return {f"x{number}": column for number, column in enumerate(values.T)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["columns", "fixed lists", "lists", "doubles", "halves", "tensor"])
def test_samples(tmp_path, kind, of):
    values = VALUES.astype(np.float16).astype(np.float32) if of == "halves" else VALUES
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(values.reshape(-1, 2, 3))
    columns = {
        "columns": columns_of(values), "doubles": columns_of(values.astype(np.float64)), "fixed lists": {"x": vectors(values)},
        "lists": {"x": pa.array(values.tolist(), pa.list_(pa.float32()))}, "tensor": {"x": tensors},
        "halves": {"x": vectors(values.astype(np.float16))}}[of]
    source = opened(write(tmp_path / kind, columns))
    assert_holds(source, values.reshape(-1, 2, 3) if of == "tensor" else values)
    assert source.read_block(0, [SAMPLES])[SAMPLES].flags.writeable  # no view of Arrow's memory
    assert source.fields[SAMPLES].bytes_stored == {"doubles": 48, "halves": 12}.get(of, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_a_group_of_rows_and_small_ones_are_joined(tmp_path, kind):
    values = CHANCE.normal(size=(4000, 200)).astype(np.float32)  # 3.2 MB
    for rows, starts in ((4000, [0]), (1500, [0, 1500, 3000]), (50, list(range(0, 4000, 150)))):
        source = opened(write(tmp_path / kind, {"x": vectors(values)}, rows, compression="zstd",
                              **({"use_dictionary": False} if kind.endswith("parquet") else {})))
        assert source.block_starts.tolist() == starts
        assert not source.reads_single_samples
    assert_holds(source, values)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_groups_make_no_blocks(tmp_path, kind):
    table = pa.table({"x": vectors(VALUES)})
    path = tmp_path / kind
    writer = pa.parquet.ParquetWriter if kind.endswith("parquet") else pa.ipc.new_file
    with writer(path, table.schema) as file:
        for begin, end in ((0, 0), (0, 600), (600, 600), (600, 600), (600, 1000), (1000, 1000)):
            file.write_batch(pa.RecordBatch.from_arrays([vectors(VALUES[begin:end])], ["x"]))
    assert_holds(opened(path), VALUES)
    large = [2 << 20] * 5
    assert join_parts([0, 5, 0, 7, 0], large) == ([0, 5], [range(1, 3), range(3, 5)])


@pytest.mark.parametrize("kind", KINDS)
def test_fields_beside_the_samples(tmp_path, kind):
    path = write(tmp_path / kind, {"class": NAMES, "x": vectors(VALUES), "y": VALUES[:, 0] * 2, "z": CLASSES.astype(np.uint8),
                                   "coded": pa.array(NAMES).dictionary_encode(), "flag": VALUES[:, 1] > 0})
    source = opened(path, beside={LABELS: "class", TARGETS: "y", CONDITION: "z,flag"}, columns=["x"])
    assert_holds(source, VALUES)
    assert_holds(source, SORTED, LABELS)
    assert source.fields[LABELS].names == ("Sun", "rain", "wind")
    assert_holds(source, VALUES[:, 0] * 2, TARGETS)
    assert_holds(source, np.stack([CLASSES, VALUES[:, 1] > 0], axis=1).astype(np.float32), CONDITION)
    coded = opened(path, beside={LABELS: "coded"}, columns=["x", "y"])
    assert_holds(coded, SORTED, LABELS)
    assert_holds(coded, np.concatenate([VALUES, VALUES[:, :1] * 2], axis=1))
    assert_holds(opened(f"{path}:x", beside={LABELS: "z"}), CLASSES, LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_those_of_numbers_without_what_lies_beside(tmp_path, kind):
    columns = {"t": NAMES, "b": VALUES[:, 0], "a": CLASSES, "d": pa.array([Decimal("1.5")] * 1000), "l": CLASSES,
               "__index_level_0__": np.arange(1000)}
    path = write(tmp_path / kind, columns)
    expected = np.stack([VALUES[:, 0], CLASSES, np.full(1000, 1.5)], axis=1).astype(np.float32)
    assert_holds(opened(path, beside={LABELS: "l"}), expected)
    assert_holds(opened(path, columns=["a", "b"]), expected[:, [1, 0]])


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_pixels_as_in_every_format(tmp_path, kind):
    pixels = CHANCE.integers(256, size=(50, 9), dtype=np.uint8)
    source = opened(write(tmp_path / kind, {"x": vectors(pixels)}))
    assert_holds(source, pixels)
    assert source.fields[SAMPLES].scale == pytest.approx(1 / 255)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_nan(tmp_path, kind):
    """In a number, in a list, and where a whole list is: what such a list's place holds is nobody's."""
    values, mask = pa.array([1, 2, 3, 4, 5, 6], pa.float32()), pa.array([False, True, False])
    whole = pa.FixedSizeListArray.from_arrays(values, 2, mask=mask)
    columns = {"a": pa.array([1, None, 3], pa.int32()), "b": pa.array([True, False, None]), "c": whole,
               "d": pa.array([[1.0, None], [2.0, 3.0], None], pa.list_(pa.float64(), 2))}
    nan = np.nan
    expected = np.array([[1, 1, 1, 2, 1, nan], [nan, 0, nan, nan, 2, 3], [3, nan, 5, 6, nan, nan]], np.float32)
    assert_holds(opened(write(tmp_path / kind, columns, 2)), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("columns", "given", "sentence"), [
    ({"a": [1.0], "s": ["x"]}, {"columns": ["a", "c"]}, r"has no column 'c': it has 'a' \(double\), 's' \(string\)"),
    ({"a": [1.0], "s": ["x"]}, {"columns": ["s"]}, "samples='s' of .* is a column of type string, where numbers are needed"),
    ({"a": [1.0], "s": ["x"]}, {"beside": {TARGETS: "s"}}, "targets='s' of .* of type string"),
    ({"a": [1.0], "s": [1.5]}, {"beside": {LABELS: "s"}}, "labels='s' holds values of .*float64: there must be one whole"),
    ({"s": ["x"]}, {}, r"has no column of numbers for the samples: it has 's' \(string\)"),
    ({"a": [[1.0, 2.0], [3.0]]}, {}, "column 'a' in sample 1 is a list of 1 values, where the first one has 2"),
    ({"a": [[[1.0, 2.0]], [[3.0]]]}, {}, "column 'a' in sample 1 is a list of 1 values, where the first one has 2"),
    ({"a": pa.array([[], []], pa.list_(pa.float32()))}, {}, "column 'a' holds lists of no values"),
    ({"a": [1.0, 2.0], "l": [1, None]}, {"beside": {LABELS: "l"}}, "column 'l' holds no value in sample 1, where a label"),
    ({"a": [1.0, 2.0], "l": ["x", None]}, {"beside": {LABELS: "l"}}, "column 'l' holds no value in sample 1, where a label"),
    ({"a": np.zeros(0)}, {}, "holds no rows"),
])
def test_what_is_refused(tmp_path, kind, columns, given, sentence):
    path = write(tmp_path / kind, columns)
    with pytest.raises(Refused, match=sentence) as refusal:
        source = opened(path, **given)
        for field in source.fields:
            source.read_all(field)
    assert str(refusal.value).count("data=") <= 1  # no sentence within another
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", KINDS)
def test_two_columns_of_one_name_are_refused(tmp_path, kind):
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    if kind.endswith("parquet"):
        write(tmp_path / kind, table)
    else:
        with pa.ipc.new_file(tmp_path / kind, table.schema) as file:
            file.write_table(table)
    with pytest.raises(Refused, match="has 2 columns named 'a'"):
        opened(tmp_path / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_missing_cut_short_or_replaced(tmp_path, kind):
    path = tmp_path / kind
    with pytest.raises(Refused, match=r"cannot be read \(No such file or directory\): check the path"):
        opened(path)
    write(path, {"x": vectors(VALUES)})
    source = opened(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Refused, match="is no whole (Parquet|Arrow) file"):
        opened(path)
    with pytest.raises(Refused, match="has changed since this run opened it"):
        source.read_block(0, [SAMPLES])
    with pytest.raises(Refused, match=r"labels='.*' has shape \(3,\), where there are 1000 samples"):
        path.write_bytes(content)
        np.save(tmp_path / "l.npy", np.arange(3))
        opened(path, beside={LABELS: str(tmp_path / "l.npy")})


def test_a_damaged_page_is_told_by_its_checksum(tmp_path):
    path = write(tmp_path / "a.parquet", {"x": vectors(VALUES)}, write_page_checksum=True, compression="none",
                 use_dictionary=False)
    content = bytearray(path.read_bytes())
    at = content.find(VALUES[500].tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match="cannot be read in samples 0 to 999 .*CRC"):
        opened(path).read_all(SAMPLES)


def test_a_damaged_offset_is_not_followed(tmp_path):
    """Where it leads is memory of something else, or none."""
    path = write(tmp_path / "a.feather", {"l": ["word"] * 50, "x": VALUES[:50, 0]}, compression="uncompressed")
    content = path.read_bytes()
    offsets = np.arange(0, 204, 4, dtype=np.int32)
    assert content.count(offsets.tobytes()) == 1
    damaged = offsets.copy()
    damaged[30] = 1 << 30
    path.write_bytes(content.replace(offsets.tobytes(), damaged.tobytes()))
    with pytest.raises(Refused, match="is no whole Arrow file .*[Oo]ffset"):
        opened(path, beside={LABELS: "l"})


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_harmless(tmp_path, kind):
    path = write(tmp_path / kind, {"x": vectors(VALUES[:60]), "y": VALUES[:60, 0], "l": NAMES[:60]}, 20)
    assert_survives_damage(path, path, beside={LABELS: "l"})


@pytest.mark.parametrize("first", [pytest.param("tensorflow", marks=pytest.mark.soak), "pyarrow.parquet"])
def test_pyarrow_and_tensorflow_in_one_process(tmp_path, first):
    """Which of the two was imported first has decided, in some versions, whether the process survives."""
    path = write(tmp_path / "a.parquet", {"x": vectors(VALUES)}, compression="zstd")
    code = (f"import {first}, sys; import tensorflow as tf; import pyarrow.parquet; from hvd_ae.data.load import load_all; "
            f"print(float(tf.reduce_sum(load_all({str(path)!r}).read_all('samples')))); import pyarrow.csv, pyarrow.feather")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert float(ran.stdout) == pytest.approx(float(VALUES.sum()), abs=1e-2)


def test_without_pyarrow_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"x": vectors(VALUES)})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match=r"is read by pyarrow, which is not installed: pip install 'hvd_ae\[parquet\]'"):
        opened(path)
