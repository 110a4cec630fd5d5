"""The IDX parser, on the real MNIST test set and on files broken in every way that has a sentence of its own."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.download import find_files
from hvd_ae.data.formats.idx import read_idx
from hvd_ae.errors import Refused

MNIST = Path(__file__).parents[2] / "data" / "mnist"
IMAGES, LABELS = MNIST / "t10k-images-idx3-ubyte.gz", MNIST / "t10k-labels-idx1-ubyte.gz"


def test_the_real_mnist_test_set():
    images, labels = read_idx(IMAGES), read_idx(LABELS)
    assert images.shape == (10_000, 28, 28)
    assert images.dtype == np.uint8
    # public knowledge: the classes' frequencies, the first labels, and the mean pixel, 0.1325 of full scale
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert images.mean() / 255 == pytest.approx(0.1325, abs=5e-5)


def test_the_published_checksums_are_those_of_the_real_files(tmp_path):
    """Both of the .gz and of what is in it; the training files are empty stand-ins, only looked for here."""
    import hashlib

    from hvd_ae.data.download import _FILES

    for path, published in zip((IMAGES, LABELS), _FILES["mnist"][2:], strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == published.gz_sha256
        read_idx(path, published.sha256)
        (tmp_path / path.name).symlink_to(path)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).touch()
    assert [path for path, _ in find_files("mnist", [tmp_path])][2:] == [tmp_path / IMAGES.name, tmp_path / LABELS.name]


def test_a_file_packed_anew_or_unpacked_has_the_same_checksum(tmp_path):
    sha256 = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    content = gzip.decompress(LABELS.read_bytes())
    (tmp_path / "labels").write_bytes(content)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(content, 1))
    for name in ("labels", "labels.gz"):
        assert np.array_equal(read_idx(tmp_path / name, sha256), read_idx(LABELS))


@pytest.mark.parametrize(("code", "dtype"), [
    (0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8"),
])
def test_every_type_in_the_byte_order_of_this_machine(tmp_path, code, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    path = tmp_path / "file"
    big_endian = values.astype(values.dtype.newbyteorder(">"))
    path.write_bytes(bytes([0, 0, code, 2]) + struct.pack(">2I", 2, 3) + big_endian.tobytes())
    read = read_idx(path)
    assert np.array_equal(read, values)
    assert read.dtype == np.dtype(dtype)


LABEL_FILE = gzip.decompress(LABELS.read_bytes())
BROKEN = {
    "an empty file": (b"", "begins with nothing"),
    "a wrong magic number": (b"\x89PNG" + LABEL_FILE, "begins with 89504e47.*magic number"),
    "another start": (b"\1\0" + LABEL_FILE[2:], "begins with 01000801.*magic number"),
    "an unknown type": (b"\0\0\x07\1" + LABEL_FILE[4:], "begins with 00000701.*magic number"),
    "no dimensions": (b"\0\0\x08\0", "magic number"),
    "a header cut short": (LABEL_FILE[:6], "ends within its header"),
    "data cut short": (LABEL_FILE[:-1], r"holds 9999 bytes of data where its header \(10000,\) needs 10000"),
    "data too long": (LABEL_FILE + b"\0", "holds 10001 bytes"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_broken_content_is_refused(tmp_path, name, pack):
    content, sentence = BROKEN[name]
    path = tmp_path / ("file.gz" if pack is gzip.compress else "file")
    path.write_bytes(pack(content))
    with pytest.raises(Refused, match=f"{path}.*{sentence}"):
        read_idx(path)


@pytest.mark.parametrize("damage", [
    lambda packed: packed[: len(packed) // 2],
    lambda packed: packed[:5],
    lambda packed: packed[:-4],
    lambda packed: packed[:200] + bytes(50) + packed[250:],
    lambda packed: packed[:-8] + bytes(8),
    lambda packed: b"no gzip at all",
    lambda packed: packed + b"more",
], ids=["half", "within the header", "without its length", "zeros inside", "wrong CRC", "no gzip", "more behind"])
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    path = tmp_path / "file.gz"
    path.write_bytes(damage(LABELS.read_bytes()))
    with pytest.raises(Refused, match=f"{path}.*gzip.*fetch it anew"):
        read_idx(path)


def test_a_missing_file_and_a_wrong_checksum_are_refused(tmp_path):
    with pytest.raises(Refused, match="No such file"):
        read_idx(tmp_path / "none.gz")
    with pytest.raises(Refused, match=r"SHA-256 ff7bcfd416de3373\.\.\. where 0000.* is published"):
        read_idx(LABELS, "0" * 64)
