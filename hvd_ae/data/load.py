"""From what the user gave, a name or a path, to training and validation samples."""

import math
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from hvd_ae.data import digits, download, synthetic
from hvd_ae.data.open import is_file, open_source, training_part
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, TARGETS, Part, Source, Splits
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World

# Each has `knows(name)`, and `load(name, seed)`: data sets that need no path, with validation samples.
NAMED = (digits, download, synthetic)

_SPLIT = 0.1  # of a path's samples, the last ones, where nothing else is said


def load(data: str, world: World, validation_split: float | None = None, validation_data: str | None = None, seed: int = 0,
         beside: Mapping[str, str] | None = None, columns: Sequence[str] = (), rows: str | None = None) -> Splits:
    """The samples of a name or a path.

    What a path brings no validation samples for keeps its last samples for them, as Keras does.

    Args:
        beside: by field (labels, targets, condition), the member of the same file, or the file, that holds it.
        columns: of a table, those that make a sample; empty: all that hold numbers.
        rows: "first:end", the samples of a path to take; None takes all.

    Raises:
        Refused: unknown name, too few samples, or a file that is missing, damaged, or does not hold samples.
    """
    splits = _named(data, seed)
    if splits is None:
        splits = _from_path(data, validation_split, validation_data, beside or {}, columns, rows)
    else:
        given = {"validation_data": validation_data, "validation_split": validation_split, "rows": rows,
                 "columns": ",".join(columns) or None, **(beside or {})}
        _refuse_without_effect(data, given)
    if splits.train.count < world.size:
        raise Refused(f"data={data!r} has {splits.train.count} training samples for {world.size} ranks: every rank needs at "
                      "least one; start fewer ranks")
    given, needed = splits.validation.fields[SAMPLES].shape, splits.train.fields[SAMPLES].shape
    if given != needed:
        raise Refused(f"validation_data={splits.validation.name!r} has samples of shape {given}, "
                      f"data={data!r} of {needed}: give both the same shape")
    return splits


def named_beside(settings) -> dict[str, str]:
    """By field, what settings say that lies beside the samples: `condition` "labels" is the labels that the data have."""
    given = {name: getattr(settings, name) for name in (LABELS, TARGETS, CONDITION)}
    return {name: text for name, text in given.items() if text is not None and (name, text) != (CONDITION, LABELS)}


def load_all(data: str, seed: int = 0, beside: Mapping[str, str] | None = None, columns: Sequence[str] = ()) -> Source:
    """All samples of a path (without a test set of its own), or the validation samples of a name."""
    splits = _named(data, seed)
    return splits.validation if splits else training_part(open_source(data, beside or {}, columns))


def load_samples(data: str, seed: int = 0, beside: Mapping[str, str] | None = None, columns: Sequence[str] = (),
                 rows: str | None = None) -> Source:
    """All samples of a path, without a test set of its own, or the training samples of a name."""
    splits = _named(data, seed)
    if splits is None:
        source = training_part(open_source(data, beside or {}, columns))
        return source if rows is None else _rows(source, rows)
    _refuse_without_effect(data, {"rows": rows, "columns": ",".join(columns) or None, **(beside or {})})
    return splits.train


def fingerprint(splits: Splits) -> np.ndarray:
    """Four int64 numbers that differ between ranks whose samples differ in count, fields, labels, or the outermost of them."""
    parts = (splits.train, splits.validation)
    return np.array([number for part in parts for number in (part.count, _digest(part))], np.int64)


_FEW = 1 << 20  # numbers, one a sample, of which all are looked at


def _digest(source: Source) -> int:
    """Of what each field is, and of some of its values: of all, where it is one number a sample and quickly read."""
    digest, ends = 0, np.array([0, source.count // 2, source.count - 1])
    for name, field in source.fields.items():
        declared = f"{name} {field.shape} {field.dtype.str} {field.scale}"
        is_small = not field.shape and source.reads_single_samples and source.count <= _FEW
        values = source.read_all(name) if is_small else source.read(ends, [name])[name]
        digest = zlib.crc32(values, zlib.crc32(declared.encode(), digest))
    return digest


def _named(data: str, seed: int) -> Splits | None:
    return next((kind.load(data, seed) for kind in NAMED if kind.knows(data)), None)


def _refuse_without_effect(data: str, given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise Refused(f"{name}={value!r} has no effect with data={data!r}, which brings its own: drop it")


def _from_path(data: str, validation_split: float | None, validation_data: str | None, beside: Mapping[str, str],
               columns: Sequence[str], rows: str | None) -> Splits:
    opened = open_source(data, beside, columns)
    train, validation = (opened.train, opened.validation) if isinstance(opened, Splits) else (opened, None)
    if rows is not None:
        train = _rows(train, rows)
    if validation_data is not None:
        if validation_split is not None:
            raise Refused(f"validation_split={validation_split} has no effect with validation_data={validation_data!r}: drop "
                          "one of them")
        return Splits(train, training_part(open_source(validation_data, {f: t for f, t in beside.items() if not is_file(t)},
                                                   columns)))
    if validation is not None:
        _refuse_without_effect(data, {"validation_split": validation_split})
        return Splits(train, validation)
    return split_off(train, validation_split, f"data={data!r}", "--validation-data")


def split_off(source: Source, validation_split: float | None, name: str, way_out: str) -> Splits:
    """The last samples, a tenth of them or `validation_split`, for validation.

    Args:
        name: what the user calls the source.
        way_out: what may be given instead.

    Raises:
        Refused: one of the parts would have no sample.
    """
    share = _SPLIT if validation_split is None else validation_split
    split_at = math.floor(source.count * (1.0 - share))
    if not 0 < split_at < source.count:
        raise Refused(f"{name} has {source.count} samples, which validation_split={share} cannot divide in two: give "
                      f"{way_out}, or another split")
    return Splits(Part(source, 0, split_at), Part(source, split_at, source.count - split_at))


def _rows(source: Source, rows: str) -> Source:
    given = re.fullmatch(r"(\d*):(\d*)", rows)
    if not given:
        raise Refused(f"rows={rows!r} is not of the form first:end: write for instance 0:1000")
    first, end = int(given[1] or 0), int(given[2] or source.count)
    if not first < end <= source.count:
        raise Refused(f"rows={rows!r} must lie within the {source.count} samples of data={source.name!r}, and hold at "
                      "least one")
    return Part(source, first, end - first)
