"""HDF5 in every layout that h5py writes: the values that were written come back, by blocks or one by one."""

import os
import pickle
import random

import h5py
import numpy as np
import pytest

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.formats import hdf5_rows
from hvd_ae.data.open import open_source
from hvd_ae.data.source import LABELS, SAMPLES, Part
from hvd_ae.errors import Refused
from tests.unit.data.formats import assert_holds, opened
from tests.unit.data.test_data_damage import damaged

CHANCE = np.random.default_rng(3)
ROWS = np.round(CHANCE.normal(size=(500, 6, 7)), 2).astype(np.float32)
CLASSES = CHANCE.integers(5, size=500)


def written(path, values=ROWS, name="x", **given):
    with h5py.File(path, "a") as file:
        return file.create_dataset(name, data=values, **given).name and path


LAYOUTS = {
    "contiguous": {},
    "chunks of samples": {"chunks": (64, 6, 7)},
    "gzip": {"chunks": (64, 6, 7), "compression": "gzip"},
    "gzip and shuffle": {"chunks": (64, 6, 7), "compression": "gzip", "shuffle": True},
    "a chunk a sample": {"chunks": (1, 6, 7), "compression": "gzip", "shuffle": True},
    "chunks of parts": {"chunks": (64, 3, 7), "compression": "gzip", "shuffle": True},
    "one chunk larger than all": {"chunks": (900, 8, 7), "compression": "gzip", "maxshape": (None, None, 7)},
    "checksums": {"chunks": (64, 6, 7), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (64, 6, 7), "compression": "lzf"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", ">i2", "u1", "?"])
def test_layouts_and_types(tmp_path, layout, dtype, monkeypatch):
    monkeypatch.setattr(hdf5_rows, "bytes_a_block", lambda data_bytes: 20_000)  # several blocks of several chunks
    values = (ROWS * 20 + 100).clip(0, 255).astype(dtype)
    source = opened(written(tmp_path / "a.h5", values, **LAYOUTS[layout]))
    assert source.reads_single_samples == (layout == "contiguous")
    assert_holds(source, values if dtype == "u1" else values.astype(np.float32))
    assert source.fields[SAMPLES].scale == (1 / 255 if dtype == "u1" else 1.0)
    if chunks := LAYOUTS[layout].get("chunks"):
        assert (source.block_starts % chunks[0] == 0).all()


def test_blocks_are_chunks_and_small_ones_are_joined(tmp_path):
    values = np.zeros((6000, 256), np.float32)  # a kilobyte a sample
    for chunk, block in ((100, 100), (1000, 1000), (60, 120), (1, 128)):  # of 6 MB blocks have 128 KB
        path = written(tmp_path / f"{chunk}.h5", values, chunks=(chunk, 128))
        assert opened(path).block_starts[1] == block


def test_a_block_is_decoded_without_hdf5(tmp_path, monkeypatch):
    source = opened(written(tmp_path / "a.h5", **LAYOUTS["gzip and shuffle"]))

    def of_hdf5(*given):
        raise AssertionError("decoded by HDF5")

    monkeypatch.setattr(h5py.Dataset, "__getitem__", of_hdf5)
    np.testing.assert_array_equal(source.read_block(0, [SAMPLES])[SAMPLES], ROWS)


def test_chunks_that_were_never_written_and_chunks_without_their_filter(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (500, 42), "f4", chunks=(64, 42), compression="gzip", fillvalue=-3.0)
        data[64:128] = ROWS.reshape(500, 42)[64:128]
        data.id.write_direct_chunk((128, 0), ROWS.reshape(500, 42)[128:192].tobytes(), filter_mask=1)
        file.create_dataset("all/fill", (10, 2), "f4", fillvalue=2.5)  # contiguous, and no byte of it in the file
    expected = np.full((500, 42), -3.0, np.float32)
    expected[64:192] = ROWS.reshape(500, 42)[64:192]
    assert_holds(opened(f"{tmp_path}/a.h5:x"), expected)
    assert_holds(opened(f"{tmp_path}/a.h5:all/fill"), np.full((10, 2), 2.5, np.float32))


def test_a_user_block_does_not_move_the_map(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["x"] = ROWS
    source = opened(tmp_path / "a.h5")
    assert isinstance(source, ArraySource)
    assert_holds(source, ROWS)


def test_numbers_of_fewer_bits_are_not_mapped(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kind = h5py.h5t.STD_I16LE.copy()
        kind.set_precision(12)
        kind.set_offset(4)
        space = h5py.h5s.create_simple((10, 3))
        data = h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, space))
        data[...] = np.arange(30).reshape(10, 3) - 15
    assert_holds(opened(tmp_path / "a.h5"), np.arange(-15.0, 15.0, dtype=np.float32).reshape(10, 3))


def test_packed_values_and_missing_ones(tmp_path):
    stored = CHANCE.integers(-100, 100, size=(50, 4)).astype(np.int16)
    stored[3, 1], stored[4, 2] = -999, -32768
    for name, given in (("a", {}), ("b", {"chunks": (8, 4), "compression": "gzip"})):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            data = file.create_dataset("x", data=stored, **given)
            data.attrs.update({"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.int16(-999),
                               "missing_value": np.array([-32768, -5000], np.int16)})
        expected = (stored * 0.01 + 273.15).astype(np.float32)
        expected[3, 1] = expected[4, 2] = np.nan
        assert_holds(opened(tmp_path / f"{name}.h5"), expected)


def test_fill_that_is_nan_leaves_a_map(tmp_path):
    """xarray writes it beside every float."""
    with h5py.File(written(tmp_path / "a.h5"), "a") as file:
        file["x"].attrs["_FillValue"] = np.float32(np.nan)
    assert isinstance(opened(tmp_path / "a.h5"), ArraySource)


def test_packed_bytes_are_values_and_no_picture(tmp_path):
    with h5py.File(written(tmp_path / "a.h5", np.array([[1, 2], [255, 4]], np.uint8)), "a") as file:
        file["x"].attrs["_FillValue"] = np.uint8(255)
    source = opened(tmp_path / "a.h5")
    assert source.fields[SAMPLES].scale == 1.0
    assert_holds(source, np.array([[1, 2], [np.nan, 4]], np.float32))


def virtual(tmp_path, counts=(100, 30, 300)):
    layout, first = h5py.VirtualLayout((sum(counts), 6, 7), "f4"), 0
    for position, count in enumerate(counts):
        written(tmp_path / f"part{position}.h5", ROWS[first : first + count], chunks=(50, 6, 7), compression="gzip",
                maxshape=(None, 6, 7))
        layout[first : first + count] = h5py.VirtualSource(f"part{position}.h5", "x", (count, 6, 7))
        first += count
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    return ROWS[:first]


def test_a_virtual_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_rows, "bytes_a_block", lambda data_bytes: 1)
    expected, source = virtual(tmp_path), opened(tmp_path / "v.h5")
    assert source.block_starts.tolist() == [0, 50, 100, 130, 180, 230, 280, 330, 380]
    assert_holds(source, expected)


def test_a_virtual_data_set_that_lost_a_file_is_refused(tmp_path):
    """HDF5 would give zeros."""
    virtual(tmp_path)
    os.unlink(tmp_path / "part1.h5")
    with pytest.raises(Refused, match=r"takes samples from .*part1.h5, which is not there: bring it"):
        opened(tmp_path / "v.h5")


def test_links_lead_to_samples(tmp_path):
    written(written(tmp_path / "other.h5", name="deep/x", chunks=(64, 6, 7)), CLASSES, "deep/labels")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["out"] = h5py.ExternalLink("other.h5", "/deep")
        file["soft"] = h5py.SoftLink("/out/x")
        file["back"] = h5py.SoftLink("/")
        file["broken"] = h5py.ExternalLink("gone.h5", "/x")
        file["nowhere"] = h5py.SoftLink("/nothing")
    for member in ("", ":out/x", ":soft"):
        assert_holds(opened(f"{tmp_path}/a.h5{member}"), ROWS)
    source = opened(f"{tmp_path}/a.h5:out/x")
    assert source.read_all(LABELS).tolist() == CLASSES.tolist()
    with pytest.raises(Refused, match="broken is a link to /x in gone.h5, which is not there"):
        opened(f"{tmp_path}/a.h5:broken")


@pytest.mark.parametrize("layout", ["contiguous", "gzip"])
def test_what_lies_beside(tmp_path, layout):
    path = written(tmp_path / "a.h5", name="run/x", **LAYOUTS[layout])
    written(path, CLASSES.reshape(-1, 1), "run/y", chunks=(77, 1))
    written(path, ROWS[:, 0] * 2, "run/clean", chunks=(33, 7), compression="gzip")
    words = np.array(["tau", "electron", "mu"])[CLASSES % 3]
    written(path, words.astype("S"), "info/kind")
    written(path, words.astype(object), "info/any")
    assert_holds(opened(path, beside={"targets": "clean", "condition": "/run/clean"}), ROWS)
    source = opened(f"{path}:/run/x", beside={"targets": "clean", "condition": "/run/x"})
    assert source.reads_single_samples == (layout == "contiguous")
    assert_holds(source, ROWS[:, 0] * 2, "targets")
    assert_holds(source, ROWS, "condition")
    assert_holds(source, CLASSES, LABELS)
    for member in ("/info/kind", "../info/any"):
        source = opened(f"{path}:run/x", beside={LABELS: member})
        assert source.fields[LABELS].names == ("electron", "mu", "tau")
        assert_holds(source, np.array([2, 0, 1])[CLASSES % 3], LABELS)


def test_labels_that_are_none(tmp_path):
    """`y` beside the samples that is a coordinate, or real numbers, or of another length."""
    for name, values in (("a", np.arange(500.0)), ("b", np.arange(499)), ("c", ROWS)):
        path = written(written(tmp_path / f"{name}.h5", ROWS[..., 0]), values, "y")
        assert list(opened(f"{path}:x").fields) == [SAMPLES]


def test_the_file_is_opened_by_the_process_that_reads(tmp_path):
    source = opened(written(tmp_path / "a.h5", **LAYOUTS["gzip"]))
    source.read_block(0, [SAMPLES])
    assert_holds(pickle.loads(pickle.dumps(source)), ROWS)
    child = os.fork()
    if not child:
        is_right = np.array_equal(source.read(np.arange(500), [SAMPLES])[SAMPLES], ROWS)
        os._exit(0 if is_right and source._opened[0] == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_that_this_process_has_open_with_a_lock(tmp_path):
    with h5py.File(written(tmp_path / "a.h5", **LAYOUTS["gzip"]), "r"):
        assert_holds(opened(tmp_path / "a.h5"), ROWS)


def several(path):
    written(path, ROWS[:, 0], "b/c")
    written(path, CLASSES, "b/d")
    written(path, np.array(["a", "b"], "S1"), "text")
    written(path, np.zeros((3, 2), [("re", "f4"), ("im", "f4")]), "record")
    written(path, np.zeros((2, 0)), "none")
    with h5py.File(path, "a") as file:
        file.create_dataset("ragged", (3, 2), h5py.vlen_dtype(np.float32))
        file["empty"] = h5py.Empty("f4")


@pytest.mark.parametrize(("member", "sentence"), [
    ("", r"several data sets that could be samples, /b/c \(500, 7\) float32, /none \(2, 0\) float64, "
         r"/x \(500, 6, 7\) float32: write which, as .*a.h5:NAME"),
    (":z", r"no data set '/z'; it has /b/c \(500, 7\) float32, .*: name one of them"),
    (":b", "'/b' is a group, not a data set; there is /b/c"),
    (":b/d", r"shape \(500,\): samples need a first dimension"),
    (":text", "holds text or values of varying length"), (":ragged", "holds text or values of varying length"),
    (":record", "real numbers"), (":none", "holds no samples"), (":empty", "is empty: give at least one sample"),
])
def test_members_that_are_refused(tmp_path, member, sentence):
    path = written(tmp_path / "a.h5")
    several(path)
    with pytest.raises(Refused, match=sentence) as refusal:
        opened(f"{path}{member}")
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("beside", "sentence"), [
    ({LABELS: "nothing"}, "no data set '/nothing'; it has /b/c"),
    ({LABELS: "short"}, r"labels='/short' has shape \(499,\), where there are 500 samples"),
    ({LABELS: "b/c"}, "one whole number, or one text, for each"), ({LABELS: "text"}, r"shape \(2,\), where there are 500"),
    ({LABELS: "ragged"}, r"shape \(3, 2\), where there are 500"), ({LABELS: "empty"}, r"shape \(\), where there are 500"),
    ({"targets": "words"}, "values of type .*, where real numbers are needed"),
])
def test_fields_beside_that_are_refused(tmp_path, beside, sentence):
    path = written(tmp_path / "a.h5")
    several(path)
    written(path, CLASSES[1:], "short")
    written(path, CLASSES.astype("S"), "words")
    with pytest.raises(Refused, match=sentence):
        opened(f"{path}:x", beside=beside)


def test_files_that_are_refused(tmp_path):
    path = written(tmp_path / "a.h5", **LAYOUTS["gzip"])
    with pytest.raises(Refused, match="cannot be read .No such file or directory.: check the path"):
        opened(tmp_path / "b.h5")
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(Refused, match="no whole HDF5 file .*truncated.*: copy or write it anew"):
        opened(path)
    for other in (b"", b"PK\3\4", b"x" * 5000):
        path.write_bytes(other)
        with pytest.raises(Refused, match="does not begin as an HDF5 file does"):
            opened(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    written(tmp_path / "a.h5").chmod(0)
    with pytest.raises(Refused, match="Permission denied"):
        opened(tmp_path / "a.h5")


def test_a_file_replaced_while_it_is_open(tmp_path):
    source = opened(written(tmp_path / "a.h5", **LAYOUTS["gzip"]))
    source.read_block(0, [SAMPLES])
    os.replace(written(tmp_path / "b.h5", ROWS + 1, **LAYOUTS["gzip"]), tmp_path / "a.h5")
    with pytest.raises(Refused, match="a.h5 has changed since this run opened it: start again"):
        source.read_block(0, [SAMPLES])


def test_a_filter_of_hdf5plugin(tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    for name, given in (("zstd", hdf5plugin.Zstd()), ("blosc", hdf5plugin.Blosc()), ("bitshuffle", hdf5plugin.Bitshuffle())):
        assert_holds(opened(written(tmp_path / f"{name}.h5", chunks=(64, 6, 7), **given)), ROWS)


@pytest.mark.parametrize(("is_installed", "sentence"), [
    (False, r"by the HDF5 filter zfp \(32013\), which is not installed: pip install hdf5plugin"),
    (True, r"by the HDF5 filter zfp \(32013\), which hdf5plugin does not have either: write it anew with gzip"),
])
def test_a_filter_that_is_not_installed(tmp_path, monkeypatch, is_installed, sentence):
    path = written(tmp_path / "a.h5", **LAYOUTS["gzip"])
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", object() if is_installed else None)
    monkeypatch.setattr(hdf5_rows, "filters_of", lambda data_set: [32013])
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(Refused, match=sentence):
        opened(path)


def test_a_shape_that_no_file_holds_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10**15, 64), "f4", chunks=(16, 64), compression="gzip")
    with pytest.raises(Refused, match="a chunk for each byte; write it anew"):
        opened(tmp_path / "a.h5")


@pytest.mark.parametrize("layout", ["contiguous", "gzip and shuffle", "chunks of parts"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, layout):
    path, chance, refusals = written(tmp_path / "a.h5", ROWS[:100], **LAYOUTS[layout]), random.Random(5), 0
    content = path.read_bytes()
    for _ in range(60):
        path.write_bytes(damaged(content, chance))
        try:
            source = opened(path)
            source.read(np.array([0, source.count - 1]), list(source.fields))
        except Refused as refusal:
            refusals += 1
            assert str(path) in str(refusal) and "\n" not in str(refusal)
    assert 5 < refusals < 60


def test_a_part_gives_blocks_on_and_cuts_those_on_its_borders(tmp_path):
    values = np.arange(100 * 40000, dtype=np.float32).reshape(100, 40000)  # a chunk of 10 is more than a megabyte: a block
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(10, 40000), compression="gzip", compression_opts=1)
    part = Part(open_source(str(tmp_path / "x.h5")), 13, 72)  # samples 13 to 84
    assert part.block_starts.tolist() == [0, 7, 17, 27, 37, 47, 57, 67]
    for block in range(8):
        first, end = part.block_range(block)
        np.testing.assert_array_equal(part.read_block(block, ["samples"])["samples"], values[13 + first : 13 + end])
