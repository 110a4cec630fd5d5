"""`.npz` files, read into memory. Never unpickled."""

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import Source, check_labels, check_sample_kind
from hvd_ae.errors import Refused

# What zipfile and NumPy raise on damaged files; RuntimeError where a flipped bit says encrypted or another method.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, OverflowError, zlib.error,
            zipfile.BadZipFile)


def reads(path: Path) -> bool:
    return path.suffix == ".npz"


def files(path: Path) -> list[Path]:
    return [path]


def read(path: Path, name: str) -> tuple[Source, Source | None]:
    """Training and test samples of arrays named as in Keras's mnist.npz, or x and y, or of one array of any name.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    try:
        # opened here, since np.load leaves a damaged file open
        with open(path, "rb") as file:
            return _unpacked(file, name)
    except OSError as error:
        raise Refused(f"data={name!r} cannot be read ({error.strerror or error}): check the path") from None


def _unpacked(file: BinaryIO, name: str) -> tuple[Source, Source | None]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return _from_archive(archive, name)
    except Refused:
        raise
    except MemoryError:
        raise Refused(f"data={name!r} does not fit in memory: save the samples as .npy, of which each rank reads only "
                      "its own") from None
    except _DAMAGED as error:
        if "Object arrays" in str(error):
            raise Refused(f"data={name!r} holds Python objects, which are never unpickled: save numbers of one type, "
                          "such as float32") from None
        reason = type(error).__name__
        raise Refused(f"data={name!r} is no whole .npz file ({reason}): write it with numpy.savez") from None


def _from_archive(archive: np.lib.npyio.NpzFile, name: str) -> tuple[Source, Source | None]:
    keys = archive.files
    key = next((key for key in ("x_train", "x") if key in keys), keys[0] if len(keys) == 1 else None)
    if key is None:
        held = ", ".join(sorted(keys)) or "none"
        raise Refused(f"data={name!r} holds the arrays {held}: name the samples x_train or x")
    train = _member(archive, key, "y_train" if key == "x_train" else "y", name)
    test = _member(archive, "x_test", "y_test", name) if "x_test" in keys and key != "x_test" else None
    return train, test


def _member(archive: np.lib.npyio.NpzFile, key: str, label_key: str, name: str) -> Source:
    values = archive[key]
    check_sample_kind(values.shape, values.dtype, name)
    labels = check_labels(archive[label_key], len(values), name) if label_key in archive.files else None
    return from_arrays(name, values, labels)
