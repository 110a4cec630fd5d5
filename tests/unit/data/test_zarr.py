"""Zarr 2 and 3: TensorStore writes them, and one of each is written by hand from the specification."""

import json
import sys
import zlib

import numpy as np
import pytest
import tensorstore
from formats import assert_holds, assert_survives_damage, opened

from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, TARGETS
from hvd_ae.errors import Refused

CHANCE = np.random.default_rng(1)
VALUES = CHANCE.normal(size=(1000, 7)).astype(np.float32)
CLASSES = CHANCE.integers(5, size=1000)
ZSTD3 = {"name": "zstd", "configuration": {"level": 1}}
VERSIONS = ["zarr", "zarr3", "sharded"]


def write(folder, values, version="zarr3", chunks=(256, 7), written=slice(None), attributes=None, fill=0):
    """A store, all its chunks written, those of zeros too."""
    chunks = [*chunks][: values.ndim]
    if version == "zarr":
        kind = {"U": "<U4"}.get(values.dtype.kind)
        metadata = {"chunks": chunks, "compressor": {"id": "zstd", "level": 1}, "dtype": kind or values.dtype.str,
                    "fill_value": fill}
    else:
        codecs = [{"name": "bytes", "configuration": {"endian": "big"}}, ZSTD3]
        if version == "sharded":
            codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": chunks, "codecs": codecs}}]
            chunks = [2 * chunks[0], *chunks[1:]]
        metadata = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}}, "codecs": codecs,
                    "data_type": values.dtype.name, "fill_value": fill, "attributes": attributes or {}}
    driver = version.replace("sharded", "zarr3")
    store = tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": str(folder)},
                              "metadata": {**metadata, "shape": values.shape}, "store_data_equal_to_fill_value": True},
                             create=True, open=True).result()
    store[written].write(values[written]).result()
    if version == "zarr" and attributes:
        (folder / ".zattrs").write_text(json.dumps(attributes))
    return folder


def read_to_the_end(*given, **named):
    source = opened(*given, **named)
    for field in source.fields:
        source.read_all(field)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i2", "|u1", "|b1"])
def test_samples(tmp_path, version, dtype):
    values = (VALUES * 30).astype(dtype)
    source = opened(write(tmp_path / "a.zarr", values, version, fill=False if dtype == "|b1" else 0))
    assert_holds(source, values if dtype == "|u1" else values.astype(np.float32))
    assert source.fields[SAMPLES].bytes_stored == 7 * values.itemsize


@pytest.mark.parametrize(("version", "dtype"), [("zarr", ">f4"), ("zarr", ">i8"), ("zarr3", "<u8")])
def test_any_order_of_bytes_and_chunks_that_divide_samples(tmp_path, version, dtype):
    values = (VALUES.reshape(500, 2, 7) * 9 + 50).astype(dtype)
    source = opened(write(tmp_path / "a.zarr", values, version, (64, 1, 3)))
    assert_holds(source, values.astype(np.float32))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_block_is_a_chunk_and_small_ones_are_joined(tmp_path, version):
    values = CHANCE.normal(size=(4000, 200)).astype(np.float32)
    for rows, starts in ((1500, [0, 1500, 3000]), (50, list(range(0, 4000, 150))), (9000, [0])):
        source = opened(write(tmp_path / f"{rows}.zarr", values, version, (rows, 200)))
        assert source.block_starts.tolist() == starts
        assert_holds(source, values)


@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_beside_the_samples(tmp_path, version):
    folder = tmp_path / "a.zarr"
    write(folder / "run/x", VALUES, version)
    write(folder / "labels", CLASSES, version, (999,))
    write(folder / "run/t", VALUES[:, :2] * 2, version, (100, 1))
    write(folder / "c", VALUES[:, 0], version, (100,))
    beside = {LABELS: "labels", TARGETS: "run/t", CONDITION: "c"}
    for data in (folder, f"{folder}:run/x", f"{folder}:/run/x"):
        source = opened(data, beside=beside)
        assert_holds(source, VALUES)
        assert_holds(source, CLASSES, LABELS)
        assert_holds(source, VALUES[:, :2] * 2, TARGETS)
        assert_holds(source, VALUES[:, 0], CONDITION)
    with pytest.raises(Refused, match=r"holds c \(1000,\), labels .*, run/t \(1000, 2\), run/x \(1000, 7\): write which"):
        opened(folder)
    with pytest.raises(Refused, match=r"holds no array 'y': it has c \(1000,\), labels .*run/x \(1000, 7\)"):
        opened(f"{folder}:y")
    with pytest.raises(Refused, match="holds no array 'm': it has c"):
        opened(f"{folder}:run/x", beside={LABELS: "m"})
    with pytest.raises(Refused, match=r"has shape \(1000,\): samples need a first dimension"):
        opened(f"{folder}:c")
    with pytest.raises(Refused, match="labels='c' holds values of .*float32: there must be one whole number"):
        opened(f"{folder}:run/x", beside={LABELS: "c"})
    write(folder / "few", CLASSES[:9], version, (9,))
    with pytest.raises(Refused, match=r"labels='few' has shape \(9,\), where there are 1000 samples"):
        opened(f"{folder}:run/x", beside={LABELS: "few"})


def test_stores_written_by_hand(tmp_path):
    """Zarr 2 with zlib and C order, Zarr 3 with plain bytes: nothing here but the specification's words and NumPy."""
    two, three = tmp_path / "2.zarr", tmp_path / "3.zarr"
    (two / "g/x").mkdir(parents=True)
    (two / "g/.zgroup").write_text('{"zarr_format": 2}')
    (two / "g/x/.zarray").write_text(json.dumps({
        "zarr_format": 2, "shape": [1000, 7], "chunks": [600, 7], "dtype": "<f4", "order": "C", "filters": None,
        "fill_value": None, "compressor": {"id": "zlib", "level": 1}}))
    (three / "c").mkdir(parents=True)
    (three / "zarr.json").write_text(json.dumps({
        "zarr_format": 3, "node_type": "array", "shape": [1000, 7], "data_type": "float32", "fill_value": "NaN",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [600, 7]}},
        "chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}))
    padded = np.concatenate([VALUES, np.zeros((200, 7), np.float32)])
    for number, chunk in enumerate((padded[:600], padded[600:])):
        (two / f"g/x/{number}.0").write_bytes(zlib.compress(chunk.tobytes()))
        (three / f"c/{number}").mkdir()
        (three / f"c/{number}/0").write_bytes(chunk.tobytes())
    assert_holds(opened(two), VALUES)
    assert_holds(opened(three), VALUES)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_missing_chunk_is_refused_unless_the_store_says_what_it_means(tmp_path, version):
    """By Zarr's rule it is the fill value; by experience, as often, a copy that was interrupted."""
    part = slice(256, None)  # without the first chunk
    for fill, attributes in ((0, {}), (3, {"missing_chunks": "no"})):
        path = write(tmp_path / f"{fill}.zarr", VALUES, version, written=part, fill=fill, attributes=attributes)
        with pytest.raises(Refused, match="lacks a chunk of samples, within samples 0 to 999 .*missing.*write_empty_chunks"):
            read_to_the_end(path)
    filled = VALUES.copy()
    filled[:256] = 3
    path = write(tmp_path / "said.zarr", VALUES, version, written=part, fill=3, attributes={"missing_chunks": "fill"})
    assert_holds(opened(path), filled)
    filled[:256] = np.nan  # for `--missing`, or `checks`
    assert_holds(opened(write(tmp_path / "nan.zarr", VALUES, version, written=part, fill="NaN")), filled)


def test_a_missing_chunk_without_a_fill_value_is_always_refused(tmp_path):
    path = write(tmp_path / "a.zarr", VALUES, "zarr", written=slice(256, None), fill=None,
                 attributes={"missing_chunks": "fill"})
    with pytest.raises(Refused, match="lacks a chunk"):
        read_to_the_end(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_floats_that_xarray_packed_into_integers(tmp_path, version):
    packed = (VALUES * 1000).astype(np.int16)
    packed[5, 3] = -32768
    attributes = {"scale_factor": 0.001, "add_offset": 20.0, "_FillValue": -32768}
    path = write(tmp_path / "a.zarr", packed, version, fill=-32768, attributes=attributes)
    expected = (packed * 0.001 + 20.0).astype(np.float32)
    expected[5, 3] = np.nan
    assert_holds(opened(path), expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_that_is_missing_damaged_or_replaced(tmp_path, version):
    with pytest.raises(Refused, match="is no whole Zarr store .*no such folder.*check the path"):
        opened(tmp_path / "a.zarr")
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(Refused, match="holds no Zarr array"):
        opened(tmp_path / "e.zarr")
    path = write(tmp_path / "a.zarr", VALUES, version)
    with pytest.raises(Refused, match="holds no array 'x': it has one array, the store itself"):
        opened(f"{path}:x")
    source = opened(path)
    described = path / (".zarray" if version == "zarr" else "zarr.json")
    text = described.read_text()
    described.write_text(text.replace("1000", "2000"))
    with pytest.raises(Refused, match="has changed since this run opened it"):
        source.read_block(0, [SAMPLES])
    described.write_text(text.replace("1000", str(10 ** 15)))
    with pytest.raises(Refused, match=f"says that it holds {10 ** 15} samples"):
        opened(path)
    described.write_text(text.replace("1000", str(10 ** 15)).replace("256", str(10 ** 14)).replace("512", str(2 * 10 ** 14)))
    with pytest.raises(Refused, match="has chunks of .* samples, .* GiB, more than the .* GiB of memory|TensorStore reads"):
        opened(path)
    described.write_text(text[:50])
    with pytest.raises(Refused, match="is no whole Zarr store .*write it anew"):
        opened(path)
    described.write_text(text)
    chunk = max(path.rglob("*[0-9]"), key=lambda file: file.is_file() and file.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(Refused, match="cannot be read in samples 0 to 999"):
        read_to_the_end(path)


def test_texts_and_complex_numbers_are_refused(tmp_path):
    with pytest.raises(Refused, match="complex64: samples must be real numbers"):
        opened(write(tmp_path / "c.zarr", VALUES.astype(np.complex64), "zarr", fill=None))
    path = write(tmp_path / "t.zarr", VALUES, "zarr")
    described = path / ".zarray"
    described.write_text(described.read_text().replace("<f4", "<U1"))
    with pytest.raises(Refused, match=r"\.zarray is not what TensorStore reads .*<U1.*: save real numbers"):
        opened(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("damaged", ["description", "chunk"])
def test_damage_is_refused_or_harmless(tmp_path, version, damaged):
    path = write(tmp_path / "a.zarr", VALUES[:60], version, (20, 7))
    described = path / (".zarray" if version == "zarr" else "zarr.json")
    chunk = min(file for file in path.rglob("*") if file.is_file() and file != described)
    assert_survives_damage(path, described if damaged == "description" else chunk)


def test_without_tensorstore_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", VALUES)
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(Refused, match=r"is read by tensorstore, which is not installed: pip install 'hvd_ae\[zarr\]'"):
        opened(path)
