"""What data there are: from a name or a path to training and validation samples."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.data.arrays import read_npy, read_npz
from hvd_ae.data.download import NAMES as DOWNLOADED
from hvd_ae.data.download import find_files, search_folders
from hvd_ae.data.idx import read_idx
from hvd_ae.data.samples import Samples, check_kind, check_labels
from hvd_ae.data.synthetic import synthetic
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

_KNOWN = f"{', '.join(('digits', *DOWNLOADED))}, synthetic, synthetic:COUNTxDIM, or a path to .npy, .npz or an IDX file"


@dataclass(frozen=True)
class Source:
    """Training and validation samples of one shape."""

    train: Samples
    validation: Samples

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """How a sample can be shown: (height, width) or (height, width, channels); None if it is no picture."""
        shape = self.train.sample_shape
        if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0] and shape[0] > 1:
            return (math.isqrt(shape[0]),) * 2
        if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
            return shape
        return None


def load(data: str, world: World, validation_split: float, validation_data: str | None = None,
         seed: int = 0) -> Source:
    """The samples of a name or a path.

    What a path brings no validation samples for keeps its last rows for them, as Keras does.

    Raises:
        Refused: unknown name, too few samples, or a file that is missing, damaged, or does not hold samples.
    """
    named = _named(data, seed)
    if named and validation_data is not None:
        raise Refused(f"validation_data={validation_data!r} has no effect with data={data!r}, which brings its own: "
                      "drop it")
    train, validation = named or _from_path(data, validation_split, validation_data)
    if train.count < world.size:
        raise Refused(f"data={data!r} has {train.count} training samples for {world.size} ranks: every rank needs at "
                      "least one; start fewer ranks")
    if validation.sample_shape != train.sample_shape:
        raise Refused(f"validation_data={validation.name!r} has samples of shape {validation.sample_shape}, "
                      f"data={data!r} of {train.sample_shape}: give both the same shape")
    return Source(train, validation)


def load_all(data: str, seed: int = 0) -> Samples:
    """All samples of a path (without a test set of its own), or the validation samples of a name."""
    named = _named(data, seed)
    return named[1] if named else _read(data)[0]


def files_of(data: str) -> list[Path]:
    """What a name or a path is read from, labels included, whether or not it is there."""
    if data in DOWNLOADED:
        return [path for path, _ in find_files(data, search_folders(data)) or ()]
    path = Path(data)
    return [path, path.with_suffix(".labels.npy") if path.suffix == ".npy" else _labels_of_images(path)]


def fingerprint(source: Source) -> np.ndarray:
    """int64 numbers that differ between ranks whose files differ in extent, type, labels, or their outermost rows."""
    numbers = []
    for samples in (source.train, source.validation):
        shape = (*samples.sample_shape, *[0] * 8)[:8]
        ends = samples.rows(np.array([0, samples.count // 2, samples.count - 1]))
        labels = b"" if samples.labels is None else np.ascontiguousarray(samples.labels)
        dtype = samples.values.dtype
        numbers += [samples.count, *shape, ord(dtype.kind), dtype.itemsize, zlib.crc32(ends), zlib.crc32(labels)]
    return np.array(numbers, np.int64)


def _named(data: str, seed: int) -> tuple[Samples, Samples] | None:
    if data == "digits":
        return _digits()
    if data in DOWNLOADED:
        return _downloaded(data)
    if data == "synthetic" or data.startswith("synthetic:"):
        return synthetic(data, seed)
    return None


def _digits() -> tuple[Samples, Samples]:
    """The 1,797 8x8 digits that ship with scikit-learn; a fixed choice of 297 is for validation, whatever the seed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16.0).astype(np.float32)
    order = np.random.default_rng(297).permutation(len(images))
    train, validation = order[297:], order[:297]
    return tuple(Samples(images[part], labels[part], "digits") for part in (train, validation))


def _downloaded(name: str) -> tuple[Samples, Samples]:
    folders = search_folders(name)
    files = find_files(name, folders)
    if files is None:
        raise Refused(f"data={name!r} is in none of {', '.join(map(str, folders))} on this node: put its four .gz "
                      "files into one of them, or name their folder in HVD_AE_DATA")
    return _from_idx(name, files[:2]), _from_idx(name, files[2:])


def _from_idx(name: str, files: list[tuple[Path, str | None]]) -> Samples:
    """Samples of a file of images and, where there is one, a file of labels, each with its SHA-256 if it is known."""
    images, *labels = (read_idx(*file) for file in files)
    check_kind(images.shape, images.dtype, name)
    if not labels:
        return Samples(images, None, name)
    if len(images) != len(labels[0]):
        raise Refused(f"{files[0][0]} holds {len(images)} images but {files[1][0]} {len(labels[0])} labels: fetch both "
                      "anew")
    return Samples(images, check_labels(labels[0], len(images), str(files[1][0])), name)


def _from_path(data: str, validation_split: float, validation_data: str | None) -> tuple[Samples, Samples]:
    train, validation = _read(data)
    if validation_data is not None:
        return train, _read(validation_data)[0]
    if validation is not None:
        return train, validation
    split_at = math.floor(train.count * (1.0 - validation_split))
    if not 0 < split_at < train.count:
        raise Refused(f"data={data!r} has {train.count} rows, which validation_split={validation_split} cannot divide "
                      "in two: give --validation-data, or another split")
    return tuple(Samples(train.values[part], None if train.labels is None else train.labels[part], data, part.start)
                 for part in (slice(0, split_at), slice(split_at, None)))


def _read(data: str) -> tuple[Samples, Samples | None]:
    path = Path(data)
    if path.suffix == ".npy":
        return read_npy(path, data), None
    if path.suffix == ".npz":
        return read_npz(path, data)
    if path.name.endswith(("-ubyte", "-ubyte.gz")):
        labels = _labels_of_images(path)
        with_labels = labels != path and labels.exists()
        return _from_idx(data, [(path, None), (labels, None)] if with_labels else [(path, None)]), None
    raise Refused(f"data={data!r} is not known: use {_KNOWN}")


def _labels_of_images(path: Path) -> Path:
    return path.with_name(path.name.replace("images-idx3", "labels-idx1"))
