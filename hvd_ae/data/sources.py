"""What data there are: from a name or a path to training and validation samples."""

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.data.download import NAMES as DOWNLOADED
from hvd_ae.data.download import find_files
from hvd_ae.data.idx import read_idx
from hvd_ae.data.samples import Samples, check_array
from hvd_ae.errors import Refused
from hvd_ae.world import World

_NAMES = ("digits", *DOWNLOADED, "synthetic", "synthetic:COUNTxDIM")


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


def load(data: str, world: World, validation_split: float, validation_data: str | None = None, seed: int = 0) -> Source:
    """The samples of a name or a path.

    Raises:
        Refused: unknown name, or a file that is missing, damaged, or does not hold samples.
    """
    train, validation = _named(data, seed) or _from_path(data, validation_split, validation_data)
    if validation_data and data in _NAMES:
        raise Refused(f"validation_data={validation_data!r} has no effect with data={data!r}, which brings its own: drop it")
    if train.count < world.size:
        raise Refused(f"data={data!r} has {train.count} training samples for {world.size} ranks: every rank needs at "
                      "least one; start fewer ranks")
    if validation.sample_shape != train.sample_shape:
        raise Refused(f"validation_data={validation.name!r} has samples of shape {validation.sample_shape}, data={data!r} "
                      f"of {train.sample_shape}: give both the same shape")
    return Source(train, validation)


def load_all(data: str, seed: int = 0) -> Samples:
    """All samples of a path, or the validation samples of a name."""
    named = _named(data, seed)
    return named[1] if named else _read(data)[0]


def fingerprint(source: Source) -> np.ndarray:
    """Numbers that are the same on two ranks only if both see data of the same extent and type (int64)."""
    train, validation = source.train, source.validation
    shape = np.zeros(8, np.int64)
    shape[: len(train.sample_shape)] = train.sample_shape[:8]
    return np.concatenate([[train.count, validation.count, ord(train.values.dtype.kind), train.values.dtype.itemsize], shape])


def _named(data: str, seed: int) -> tuple[Samples, Samples] | None:
    if data == "digits":
        return _digits()
    if data in DOWNLOADED:
        files = find_files(data)
        if files is None:
            raise Refused(f"data={data!r} was not found on this node: set HVD_AE_DATA to the folder of its files")
        return _from_idx(data, files[:2]), _from_idx(data, files[2:])
    if data == "synthetic" or data.startswith("synthetic:"):
        return _synthetic(data, seed)
    return None


def _digits() -> tuple[Samples, Samples]:
    """The 1,797 8x8 digits that ship with scikit-learn; a fixed choice of 297 is for validation."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16.0).astype(np.float32)
    order = np.random.default_rng(297).permutation(len(images))
    train, validation = order[297:], order[:297]
    return (Samples(images[train], labels[train], "digits"), Samples(images[validation], labels[validation], "digits"))


def _from_idx(name: str, files: list[Path]) -> Samples:
    images, labels = (read_idx(path) for path in files)
    if len(images) != len(labels):
        raise Refused(f"{files[0]} holds {len(images)} images but {files[1]} {len(labels)} labels: fetch both anew")
    return Samples(check_array(images, name), labels.astype(np.int64), name)


def _synthetic(data: str, seed: int) -> tuple[Samples, Samples]:
    """Samples near a curved surface of ten dimensions, within 0 to 1, so that an autoencoder has something to find."""
    given = re.fullmatch(r"synthetic(?::(\d+)((?:x\d+)+))?", data)
    if not given:
        raise Refused(f"data={data!r} is not of the form synthetic:COUNTxDIM: write for instance synthetic:4096x784")
    count = int(given[1] or 4096)
    shape = tuple(int(part) for part in (given[2] or "x784").split("x")[1:])
    generator = np.random.Generator(np.random.PCG64([seed, 10]))
    labels = generator.integers(10, size=count)
    centres = generator.normal(size=(10, 10))
    factors = (centres[labels] + 0.3 * generator.normal(size=(count, 10))).astype(np.float32)
    mixing = generator.normal(size=(10, math.prod(shape))).astype(np.float32)
    values = check_array((1.0 / (1.0 + np.exp(-factors @ mixing))).reshape(count, *shape), data)
    held_out = max(1, count // 10)
    return (Samples(values[:-held_out], labels[:-held_out], data), Samples(values[-held_out:], labels[-held_out:], data))


def _from_path(data: str, validation_split: float, validation_data: str | None) -> tuple[Samples, Samples]:
    train, validation = _read(data)
    if validation_data is not None:
        return train, _read(validation_data)[0]
    if validation is not None:
        return train, validation
    held_out = max(1, round(train.count * validation_split))
    if held_out >= train.count:
        raise Refused(f"data={data!r} has {train.count} rows, too few to keep some for validation: give --validation-data")
    labels = train.labels if train.labels is not None else None
    parts = slice(None, -held_out), slice(-held_out, None)
    return tuple(Samples(train.values[p], None if labels is None else labels[p], data) for p in parts)


def _read(path: str) -> tuple[Samples, Samples | None]:
    file = Path(path)
    if file.name.endswith(("-ubyte", "-ubyte.gz")):
        return Samples(check_array(read_idx(file), path), None, path), None
    if file.suffix not in (".npy", ".npz"):
        raise Refused(f"data={path!r} is not known: use {', '.join(_NAMES)}, or a path to .npy, .npz or an IDX file")
    try:
        return _read_npy(file, path) if file.suffix == ".npy" else _read_npz(file, path)
    except OSError as error:
        raise Refused(f"data={path!r} cannot be read ({error.strerror or error}): check the path") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, Refused):
            raise
        reason = "it holds Python objects, which are never unpickled" if "allow_pickle" in str(error) else (
            "truncated or damaged: " + str(error).splitlines()[0])
        raise Refused(f"data={path!r} is no usable NumPy file ({reason}): save plain numbers with numpy.save") from None


def _read_npy(file: Path, name: str) -> tuple[Samples, None]:
    values = check_array(np.load(file, mmap_mode="r", allow_pickle=False), name)
    beside = file.with_suffix(".labels.npy")
    labels = np.load(beside, allow_pickle=False) if beside.exists() else None
    return Samples(values, _check_labels(labels, values, str(beside)), name), None


def _read_npz(file: Path, name: str) -> tuple[Samples, Samples | None]:
    """Arrays named as in Keras's mnist.npz, or x and y, or one array of any name."""
    with np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    train = next((arrays[key] for key in ("x_train", "x") if key in arrays), None)
    if train is None:
        if len(arrays) != 1:
            raise Refused(f"data={name!r} holds the arrays {sorted(arrays)}: name the samples x_train or x")
        train = next(iter(arrays.values()))
    labels = next((arrays[key] for key in ("y_train", "y") if key in arrays), None)
    samples = Samples(check_array(train, name), _check_labels(labels, train, name), name)
    if "x_test" not in arrays:
        return samples, None
    test = check_array(arrays["x_test"], name)
    return samples, Samples(test, _check_labels(arrays.get("y_test"), test, name), name)


def _check_labels(labels: np.ndarray | None, values: np.ndarray, name: str) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.shape != (len(values),) or labels.dtype.kind not in "iu":
        raise Refused(f"{name!r} holds labels of shape {labels.shape} and type {labels.dtype}: there must be one whole "
                      f"number for each of the {len(values)} samples")
    return labels.astype(np.int64)
