"""`.npz` files, read into memory. Never unpickled."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.source import LABELS, SAMPLES, Field, Source, Splits
from hvd_ae.data.spec import Spec, check_labels, check_sample_kind, field_beside
from hvd_ae.errors import Refused

# What zipfile and NumPy raise on damaged files; RuntimeError where a flipped bit says encrypted or another method.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, OverflowError, zlib.error,
            zipfile.BadZipFile)


def reads(path: Path) -> bool:
    return path.suffix == ".npz"


def read(spec: Spec) -> Source | Splits:
    """Training and test samples of arrays named as in Keras's mnist.npz, or x and y, or of one array of any name.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    try:
        # opened here, since np.load leaves a damaged file open
        with open(spec.path, "rb") as file:
            return _unpacked(file, spec)
    except OSError as error:
        raise Refused(f"data={spec.name!r} cannot be read ({error.strerror or error}): check the path") from None


def _unpacked(file: BinaryIO, spec: Spec) -> Source | Splits:
    name = spec.name
    try:
        with np.load(file, allow_pickle=False) as archive:
            return _from_archive(archive, spec)
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


def _from_archive(archive: np.lib.npyio.NpzFile, spec: Spec) -> Source | Splits:
    keys = archive.files
    key = spec.member or next((key for key in ("x_train", "x") if key in keys), keys[0] if len(keys) == 1 else None)
    if key is None:
        held = ", ".join(sorted(keys)) or "none"
        raise Refused(f"data={spec.name!r} holds the arrays {held}: name the samples x_train or x, or write which, as "
                      f"{spec.path}:NAME")
    beside = dict(spec.beside)
    if (default := {"x_train": "y_train", "x": "y"}.get(key)) in keys:
        beside = {LABELS: default, **beside}
    train = _arrays(archive, key, beside, spec)
    if key == "x_train" and "x_test" in keys:
        beside = {LABELS: "y_test"} if "y_test" in keys and beside.get(LABELS) == "y_train" else {}
        return Splits(train, _arrays(archive, "x_test", beside, spec))
    return train


def _arrays(archive: np.lib.npyio.NpzFile, key: str, beside: Mapping[str, str], spec: Spec) -> Source:
    values = _member(archive, key, spec)
    check_sample_kind(values.shape, values.dtype, spec.name)
    arrays, fields = {SAMPLES: values}, {SAMPLES: Field.of_values(values)}
    for field, member in beside.items():
        array = _member(archive, member, spec)
        if field == LABELS:
            array = check_labels(array, len(values), spec.name)
        arrays[field], fields[field] = array, field_beside(field, array.shape, array.dtype, len(values), member)
    return ArraySource(spec.name, arrays, fields)


def _member(archive: np.lib.npyio.NpzFile, key: str, spec: Spec) -> np.ndarray:
    if key not in archive.files:
        raise Refused(f"data={spec.name!r} holds no array {key!r}: it has {', '.join(sorted(archive.files)) or 'none'}")
    return archive[key]
