"""Whatever is done to a data file, it is read or refused in one line: no traceback, and nothing in it is ever run."""

import gzip
import os
import random
from pathlib import Path

import numpy as np
import pytest

from hvd_ae.data.checks import Range, check_some
from hvd_ae.data.load import load
from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

ROWS = np.random.default_rng(0).uniform(size=(20, 6)).astype(np.float32)
IDX = bytes([0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 3]) + bytes(range(180))
WRITERS = {
    "a.npy": lambda path: np.save(path, ROWS),
    "a.npz": lambda path: np.savez(path, x=ROWS, y=np.arange(20)),
    "b.npz": lambda path: np.savez_compressed(path, x_train=ROWS, x_test=ROWS),
    "a-ubyte": lambda path: path.write_bytes(IDX),
    "a-ubyte.gz": lambda path: path.write_bytes(gzip.compress(IDX)),
}
FIRST_BYTES = 160  # headers, in which damage does most; in a .npz the last ones are its table of contents


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut short, or with a few bytes changed, mostly where the headers are."""
    if chance.random() < 0.2:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        near = chance.randrange(min(FIRST_BYTES, len(changed)))
        position = chance.choice([near, len(changed) - 1 - near, chance.randrange(len(changed))])
        changed[position] = chance.choice([chance.randrange(256), changed[position] ^ 1 << chance.randrange(8), ord("-"), 0])
    return bytes(changed)


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    path, chance, refusals = tmp_path / name, random.Random(7), 0
    WRITERS[name](path)
    content = path.read_bytes()
    for _ in range(500):
        path.write_bytes(damaged(content, chance))
        try:
            source = load(str(path), World())
            check_some(source.train, np.arange(source.train.count), SAMPLES, Range())
        except Refused as refusal:
            refusals += 1
            assert str(path) in str(refusal) and "\n" not in str(refusal)
    assert 50 < refusals < 500


@pytest.mark.parametrize("shape", ["(-20, 6)", "(20, -6)", "(-20, -6)", "(4611686018427387904, 8)", "(20, 6, 0)"])
def test_a_header_with_an_impossible_shape_is_refused(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + ROWS.tobytes())
    with pytest.raises(Refused):
        load(str(path), World())


class Bait:
    """What makes a folder when it is unpickled; an attacker would do worse."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def save_bait(kind: str, path: Path, bait: np.ndarray) -> None:
    if kind == "npy":
        np.save(path, bait, allow_pickle=True)
    elif kind == "labels beside npy":
        np.save(path, ROWS)
        np.save(path.with_suffix(".labels.npy"), bait, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, x=bait)
    else:
        np.savez(path, x=ROWS, y=bait)


@pytest.mark.parametrize("kind", ["npy", "labels beside npy", "npz", "labels in npz"])
def test_a_pickle_in_a_file_is_never_run(tmp_path, kind):
    trap, path = tmp_path / "sprung", tmp_path / ("a.npz" if "npz" in kind else "a.npy")
    bait = np.array([Bait(trap)] * 20, dtype=object).reshape(20, 1)
    np.save(tmp_path / "proof.npy", bait, allow_pickle=True)
    np.load(tmp_path / "proof.npy", allow_pickle=True)
    trap.rmdir()  # it was there: the bait does what it says
    save_bait(kind, path, bait)
    with pytest.raises(Refused, match="holds Python objects, which are never unpickled"):
        load(str(path), World())
    assert not trap.exists()
