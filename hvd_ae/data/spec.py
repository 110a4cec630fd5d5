"""What a format is asked for, and what it may find: the checks of samples and of what lies beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from hvd_ae.data.source import LABELS, Field
from hvd_ae.errors import Refused


@dataclass(frozen=True)
class Spec:
    """What the user wants read: `--data PATH[:MEMBER]`, and what names the fields beside the samples."""

    name: str  # as the user gave it, for messages
    path: Path
    member: str | None = None  # after the colon: the data set, variable, array or feature that holds the samples
    beside: Mapping[str, str] = None  # by field (labels, targets, condition), the member beside the samples that holds it
    columns: tuple[str, ...] = ()  # of a table, those that make a sample; empty: all that hold numbers

    def __post_init__(self):
        object.__setattr__(self, "beside", dict(self.beside or {}))


def all_files(kind: ModuleType, path: Path) -> Sequence[Path]:
    """All that a format reads for a path, whether or not it is there: the path alone, where the format says no more."""
    return kind.files(path) if hasattr(kind, "files") else [path]


def check_sample_kind(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Refuse an array (count, ...) that cannot be what a model sees.

    Raises:
        Refused: no real numbers, fewer than two dimensions, or no values at all.
    """
    if dtype.hasobject:
        raise Refused(f"data={name!r} holds Python objects, which are never unpickled: save numbers of one type, such "
                      "as float32")
    if dtype.kind not in "fiub":
        raise Refused(f"data={name!r} holds values of type {dtype}: samples must be real numbers; save them as float32")
    if len(shape) < 2:
        raise Refused(f"data={name!r} has shape {shape}: samples need a first dimension that counts them and at least one "
                      "more; reshape, for instance to (samples, features)")
    if 0 in shape:
        raise Refused(f"data={name!r} has shape {shape}, which holds no samples: give at least one")


def check_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels as (count,) int64; a column (count, 1), as some data sets have it, will do.

    Raises:
        Refused: not one whole number for each sample.
    """
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
        raise Refused(f"{name!r} holds labels of shape {labels.shape} and type {labels.dtype}: there must be one whole "
                      f"number for each of the {count} samples")
    return labels.reshape(count).astype(np.int64)


def field_beside(field: str, shape: tuple[int, ...], dtype: np.dtype, count: int, name: str) -> Field:
    """The field of an array (count, ...) that lies beside the samples, as labels, targets or condition.

    Raises:
        Refused: of another length, no real numbers, or, for labels, no whole numbers (text is made into numbers before).
    """
    if not shape or shape[0] != count:
        raise Refused(f"{field}={name!r} has shape {tuple(shape)}, where there are {count} samples: there must be one of each")
    if field == LABELS:
        if dtype.kind not in "iub" or tuple(shape[1:]) not in ((), (1,)):
            raise Refused(f"{field}={name!r} holds values of shape {tuple(shape)} and type {dtype}: there must be one whole "
                          f"number, or one text, for each of the {count} samples")
        return Field((), np.dtype(np.int64), 1.0, dtype.itemsize)
    if dtype.kind not in "fiub":
        raise Refused(f"{field}={name!r} holds values of type {dtype}, where real numbers are needed: save them as float32")
    return Field.of_numbers(tuple(shape[1:]), dtype)
