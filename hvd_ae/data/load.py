"""From what the user gave, a name or a path, to training and validation samples."""

import math
import zlib
from pathlib import Path

import numpy as np

from hvd_ae.data import digits, download, idx, npy, npz, synthetic
from hvd_ae.data.source import SAMPLES, Part, Source, Splits
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

# Each has `reads(path)`, by the path's name alone, `files(path)`, and `read(path, name)`: the samples, and a test set where
# the file brings one.
FORMATS = (npy, npz, idx)
# Each has `knows(name)`, and `load(name, seed)`: data sets that need no path, with validation samples.
NAMED = (digits, download, synthetic)

_SPLIT = 0.1  # of a path's samples, the last ones, where nothing else is said


def load(data: str, world: World, validation_split: float | None = None, validation_data: str | None = None,
         seed: int = 0) -> Splits:
    """The samples of a name or a path.

    What a path brings no validation samples for keeps its last samples for them, as Keras does.

    Raises:
        Refused: unknown name, too few samples, or a file that is missing, damaged, or does not hold samples.
    """
    splits = _named(data, seed)
    if splits is None:
        splits = _from_path(data, validation_split, validation_data)
    else:
        _refuse_validation_settings(data, validation_split, validation_data)
    if splits.train.count < world.size:
        raise Refused(f"data={data!r} has {splits.train.count} training samples for {world.size} ranks: every rank needs at "
                      "least one; start fewer ranks")
    given, needed = splits.validation.fields[SAMPLES].shape, splits.train.fields[SAMPLES].shape
    if given != needed:
        raise Refused(f"validation_data={splits.validation.name!r} has samples of shape {given}, "
                      f"data={data!r} of {needed}: give both the same shape")
    return splits


def load_all(data: str, seed: int = 0) -> Source:
    """All samples of a path (without a test set of its own), or the validation samples of a name."""
    splits = _named(data, seed)
    return splits.validation if splits else _read(data)[0]


def files_of(data: str) -> list[Path]:
    """What a name or a path is read from, labels included, whether or not it is there."""
    if data in download.NAMES:
        return [path for path, _ in download.find_files(data, download.search_folders(data)) or ()]
    path = Path(data)
    return next((kind.files(path) for kind in FORMATS if kind.reads(path)), [path])


def fingerprint(splits: Splits) -> np.ndarray:
    """Four int64 numbers that differ between ranks whose samples differ in count, fields, labels, or the outermost of them."""
    parts = (splits.train, splits.validation)
    return np.array([number for part in parts for number in (part.count, _digest(part))], np.int64)


def _digest(source: Source) -> int:
    """Of what each field is, and of some of its values: of all, where it is one number a sample."""
    digest, ends = 0, np.array([0, source.count // 2, source.count - 1])
    for name, field in source.fields.items():
        declared = f"{name} {field.shape} {field.dtype.str} {field.scale}"
        values = source.read(ends, [name])[name] if field.shape else source.read_all(name)
        digest = zlib.crc32(values, zlib.crc32(declared.encode(), digest))
    return digest


def _named(data: str, seed: int) -> Splits | None:
    return next((kind.load(data, seed) for kind in NAMED if kind.knows(data)), None)


def _refuse_validation_settings(data: str, validation_split: float | None, validation_data: str | None) -> None:
    for name, value in (("validation_data", validation_data), ("validation_split", validation_split)):
        if value is not None:
            raise Refused(f"{name}={value!r} has no effect with data={data!r}, which brings its own: drop it")


def _from_path(data: str, validation_split: float | None, validation_data: str | None) -> Splits:
    train, validation = _read(data)
    if validation_data is not None:
        if validation_split is not None:
            raise Refused(f"validation_split={validation_split} has no effect with validation_data={validation_data!r}: drop "
                          "one of them")
        return Splits(train, _read(validation_data)[0])
    if validation is not None:
        _refuse_validation_settings(data, validation_split, None)
        return Splits(train, validation)
    share = _SPLIT if validation_split is None else validation_split
    split_at = math.floor(train.count * (1.0 - share))
    if not 0 < split_at < train.count:
        raise Refused(f"data={data!r} has {train.count} samples, which validation_split={share} cannot divide in two: give "
                      "--validation-data, or another split")
    return Splits(Part(train, 0, split_at), Part(train, split_at, train.count - split_at))


def _read(data: str) -> tuple[Source, Source | None]:
    path = Path(data)
    for kind in FORMATS:
        if kind.reads(path):
            return kind.read(path, data)
    known = ", ".join(("digits", *download.NAMES))
    raise Refused(f"data={data!r} is not known: use {known}, synthetic, synthetic:COUNTxDIM, or a path to .npy, .npz or an "
                  "IDX file")
