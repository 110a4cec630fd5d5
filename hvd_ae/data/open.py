"""From a path, as `--data` takes it, to samples: which format reads it, and what lies beside the samples."""

import importlib
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hvd_ae.data import digits, download
from hvd_ae.data.formats import csv_files, h5ad, hdf5, idx, netcdf, npy, npz, parquet, several, tfrecord, zarr
from hvd_ae.data.source import LABELS, SAMPLES, Source, Splits, WithField
from hvd_ae.data.spec import Spec, all_files, check_labels, field_beside
from hvd_ae.errors import Refused

# Each has `reads(path)`, by the path's name alone; `files(path)`, where more than the path is read for it; and `read(spec)`:
# the samples, or Splits where the file brings a test set of its own. Where its library is not installed, `read` says so.
FORMATS = (npy, npz, idx, hdf5, netcdf, h5ad, zarr, parquet, csv_files, tfrecord)
_SUFFIXES = ".npy, .npz, .h5, .hdf5, .nc, .h5ad, .zarr, .parquet, .feather, .csv, .tsv, .tfrecord"


def open_source(data: str, beside: Mapping[str, str] = {}, columns: Sequence[str] = ()) -> Source | Splits:
    """The samples of a path, as `--data` takes it, with the fields beside them.

    Raises:
        Refused: no known format, or a file that is missing, damaged, or does not hold samples.
    """
    path, member = path_and_member(data)
    paths = several.find(str(path), FORMATS) if data else None
    if paths is not None:
        several.check(data, paths, FORMATS, _SUFFIXES)
        path = paths[0]
    kind = next((kind for kind in FORMATS if kind.reads(path)), None)
    if kind is None:
        if reader := _users_reader(data):
            return reader
        known = ", ".join((*digits.NAMES, *download.NAMES))
        raise Refused(f"data={data!r} is not known: use {known}, synthetic, synthetic:COUNTxDIM, a path to {_SUFFIXES} or an "
                      "IDX file, or package.module:function of your own")
    if columns and not getattr(kind, "HAS_COLUMNS", False):
        raise Refused(f"columns={','.join(columns)!r} has no effect with data={data!r}, which is no table: drop it")
    of_files = {field: text for field, text in beside.items() if is_file(text)}
    within = {field: text for field, text in beside.items() if field not in of_files}
    if within and not getattr(kind, "HAS_MEMBERS", True):
        field, text = next(iter(within.items()))
        raise Refused(f"{field}={text!r} is no file, and data={data!r} holds nothing beside the samples: give a path")
    if paths is None:
        opened = kind.read(Spec(data, path, member, within, tuple(columns)))
    else:
        opened = several.read(data, paths, partial(all_files, kind),
                              lambda path: kind.read(Spec(str(path), path, member, within, tuple(columns))))
    if isinstance(opened, Splits) and of_files:
        raise Refused(f"{next(iter(of_files))}={next(iter(of_files.values()))!r} is one file, and data={data!r} brings a test "
                      "set of its own: name a member of the file")
    for field, text in of_files.items():
        opened = _with_field(opened, field, text)
    return opened


def _with_field(source: Source, field: str, text: str) -> Source:
    """The source with the samples of another file as a field; they are held in memory."""
    values = _values_of_file(text)
    declared = field_beside(field, values.shape, values.dtype, source.count, text)
    if field == LABELS:
        values = check_labels(values, source.count, text)
    return WithField(source, field, values, declared)


def _values_of_file(text: str) -> np.ndarray:
    path, member = path_and_member(text)
    if paths := several.find(str(path), FORMATS):
        return np.concatenate([_values_of_file(f"{path}:{member}" if member else str(path)) for path in paths])
    if path.suffix == ".npy":  # labels have one dimension, which no samples have
        return npy.read_array(path, text)
    kind = next(kind for kind in FORMATS if kind.reads(path))
    source = training_part(kind.read(Spec(text, path, member)))
    return source.read_all(SAMPLES)


def path_and_member(data: str) -> tuple[Path, str | None]:
    """`run.h5:/group/x` is a member of a file; a colon in a path that exists, or of no known format, belongs to the path."""
    path, colon, member = data.rpartition(":")
    is_known = any(kind.reads(Path(path)) for kind in FORMATS) or bool(path and several.find(path, FORMATS))
    if colon and member and not os.path.exists(data) and is_known:
        return Path(path), member
    return Path(data), None


def is_file(text: str) -> bool:
    path, _ = path_and_member(text)
    return os.path.exists(path) or any(kind.reads(path) for kind in FORMATS)


def _users_reader(data: str) -> Source | Splits | None:
    """What `package.module:function` returns, called without arguments, where `data` is of that form and can be imported."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", data):
        return None
    module_name, function_name = data.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise Refused(f"data={data!r}: {module_name} cannot be imported ({error}): start in its folder, or put that on the "
                      "PYTHONPATH") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise Refused(f"data={data!r}: {module_name} has no function {function_name}: name one that returns a Source")
    opened = function()
    if not isinstance(opened, Source | Splits):
        raise Refused(f"data={data!r} returned {type(opened).__name__}: it must return a hvd_ae Source, or Splits")
    return opened


def has_columns(data: str) -> bool:
    """Whether this is a path to a table, of whose columns some can be chosen."""
    path, _ = path_and_member(data)
    path = (several.find(str(path), FORMATS) or [path])[0]
    return any(getattr(kind, "HAS_COLUMNS", False) for kind in FORMATS if kind.reads(path))


def files_of(data: str) -> list[Path]:
    """What a name or a path is read from, labels included, whether or not it is there."""
    if download.knows(data):
        return [path for path, _ in download.find_files(data, download.search_folders(data)) or ()]
    path, _ = path_and_member(data)
    paths = several.find(str(path), FORMATS) or [path]
    return [file for path in paths for file in next((all_files(kind, path) for kind in FORMATS if kind.reads(path)), [path])]


def training_part(opened: Source | Splits) -> Source:
    return opened.train if isinstance(opened, Splits) else opened
