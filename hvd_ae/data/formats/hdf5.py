"""HDF5 files, `run.h5:/group/x`: a data set whose first axis counts the samples, with labels and targets beside it."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from hvd_ae.data.formats.classes import is_text, names_of
from hvd_ae.data.formats.hdf5_file import Classes, Column, Values, opened, source_of
from hvd_ae.data.formats.hdf5_members import LABELS_BY_NAME, find, is_scale, samples_member
from hvd_ae.data.formats.hdf5_rows import block_starts, check_filters, packing_of
from hvd_ae.data.formats.hdf5_virtual import source_files
from hvd_ae.data.source import LABELS, SAMPLES, Field, Source
from hvd_ae.data.spec import Spec, check_sample_kind, field_beside
from hvd_ae.errors import Refused


def reads(path: Path) -> bool:
    return path.suffix in (".h5", ".hdf5")


def read(spec: Spec) -> Source:
    """Samples of a data set: a memory map where they lie in one stretch as plain numbers, else read block by block.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    with opened(spec) as file:
        member = samples_member(file, spec)
        samples = find(file, member, spec)
        columns, fields = {SAMPLES: Values(member, spec.name)}, {SAMPLES: samples_field(samples, spec.name)}
        for name, beside in _beside(file, member, samples, spec).items():
            columns[name], fields[name] = column_beside(file, name, beside, len(samples), spec)
        return source_of(spec, file, columns, fields, len(samples), starts_of(samples, spec))


def starts_of(samples, spec: Spec) -> np.ndarray:
    return block_starts(samples, spec.name, spec.path.stat().st_size)


def samples_field(data_set, name: str) -> Field:
    """Of a data set of samples.

    Raises:
        Refused: it cannot hold samples, or not be decoded here.
    """
    if data_set.shape is None:
        raise Refused(f"data={name!r}: {data_set.name} is empty: give at least one sample")
    if is_text(data_set) or data_set.dtype.hasobject:
        raise Refused(f"data={name!r}: {data_set.name} holds text or values of varying length: samples must be real numbers "
                      "of one shape; name another data set")
    check_sample_kind(data_set.shape, data_set.dtype, name)
    check_can_be_read(data_set, name)
    return _as_unpacked(Field.of_numbers(data_set.shape[1:], data_set.dtype), data_set, name)


def column_beside(file, name: str, member: str, count: int, spec: Spec) -> tuple[Column, Field]:
    """A field beside the samples.

    Raises:
        Refused: of another length or type than such a field must have.
    """
    data_set = find(file, member, spec)
    shape = data_set.shape or ()
    check_can_be_read(data_set, spec.name)
    if name == LABELS and is_text(data_set):
        declared = field_beside(name, shape[:1], np.dtype(np.int64), count, member)
        names = names_of(data_set, member)
        return Classes(member, names), replace(declared, names=names)
    declared = field_beside(name, shape, data_set.dtype, count, member)
    if name == LABELS:
        return Classes(member), declared
    return Values(member, spec.name), _as_unpacked(declared, data_set, spec.name)


def check_can_be_read(data_set, name: str) -> None:
    if data_set.is_virtual:
        source_files(data_set, name)
    check_filters(data_set, name)


def _as_unpacked(field: Field, data_set, name: str) -> Field:
    """What is packed is no picture of bytes, whatever its type."""
    return field if packing_of(data_set, name).is_none else replace(field, dtype=np.dtype(np.float32), scale=1.0)


def _beside(file, member: str, samples, spec: Spec) -> Mapping[str, str]:
    """The members that hold the fields beside the samples, as absolute names."""
    group = posixpath.dirname(member)
    named = {name: posixpath.normpath(posixpath.join(group, beside)) for name, beside in spec.beside.items()}
    default = next((name for name in (posixpath.join(group, key) for key in LABELS_BY_NAME)
                    if _is_a_number_a_sample(file.get(name), samples)), None)
    return named if LABELS in named or default is None else {LABELS: default, **named}


def _is_a_number_a_sample(found, samples) -> bool:
    return (hasattr(found, "dtype") and found.dtype.kind in "iu" and found.shape in ((len(samples),), (len(samples), 1))
            and found != samples and not is_scale(found))
