"""NetCDF-3 files: found by SciPy, and memory-mapped (https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html)."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.formats.classes import Numbered, is_text, names_of
from hvd_ae.data.formats.packing import NAMES, Packing, Unpacked
from hvd_ae.data.formats.rows import Rows, RowsSource
from hvd_ae.data.source import LABELS, SAMPLES, Field, Source
from hvd_ae.data.spec import Spec, check_sample_kind, field_beside
from hvd_ae.errors import Refused


def read(spec: Spec) -> Source:
    """Samples of a variable whose first dimension counts them.

    Raises:
        Refused: the file is damaged, or does not hold samples.
    """
    try:
        return _read(spec)
    except Refused:
        raise
    except Exception as error:  # SciPy has many, and of damaged files nearly all
        raise Refused(f"data={spec.name!r} is no whole NetCDF-3 file ({type(error).__name__}): copy or write it anew"
                      ) from None


@dataclass(frozen=True)
class Variable:
    """Where a variable of a NetCDF-3 file lies."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int  # of the first sample, in bytes
    stride: int  # from one sample to the next: in files with an unlimited dimension, variables take turns
    is_coordinate: bool  # of a dimension of its own name
    attributes: tuple[tuple[str, object], ...]  # those of the conventions

    @property
    def packing(self) -> Packing:
        return Packing.of(dict(self.attributes), self.dtype, str(self.path))

    def mapped(self) -> np.ndarray:
        """Left in the file."""
        short = max(0, self.offset + self.stride * self.shape[0] - self.path.stat().st_size)  # of the last sample's turn
        turn = np.dtype({"names": ["value"], "formats": [(self.dtype, self.shape[1:])], "offsets": [short],
                         "itemsize": max(self.stride, short + self.dtype.itemsize * int(np.prod(self.shape[1:])))})
        if turn.itemsize != self.stride:  # the last sample ends the file: its turn is not longer
            raise ValueError("a variable that reaches beyond the end of the file")
        return np.memmap(self.path, turn, "r", self.offset - short, self.shape[:1])["value"]


@dataclass(frozen=True)
class Column:
    variable: Variable
    is_class: bool = False
    names: tuple[str, ...] = ()

    def rows(self) -> Rows:
        values = self.variable.mapped()
        if self.is_class:
            return Numbered(values, self.names) if self.names else values
        return values if self.variable.packing.is_none else Unpacked(values, self.variable.packing)


def _read(spec: Spec) -> Source:
    variables = _variables(spec)
    samples = variables[_samples_member(variables, spec)]
    check_sample_kind(samples.shape, samples.dtype, spec.name)
    count, columns = samples.shape[0], {SAMPLES: Column(samples)}
    fields = {SAMPLES: _as_unpacked(Field.of_numbers(samples.shape[1:], samples.dtype), samples)}
    for name, member in _beside(variables, samples, spec).items():
        columns[name], fields[name] = _column_beside(variables, name, member, count, spec)
    rows = _open_rows(columns)
    if all(isinstance(of_field, np.ndarray) for of_field in rows.values()):
        arrays = {name: array.reshape(count, *fields[name].shape) for name, array in rows.items()}
        return ArraySource(spec.name, arrays, fields)
    row_bytes = max(1, fields[SAMPLES].bytes_stored)
    rows_a_block = max(1, bytes_a_block(count * row_bytes) // row_bytes)
    return RowsSource(spec.name, fields, count, np.arange(0, count, rows_a_block), [spec.path], partial(_open_rows, columns))


def _open_rows(columns: dict[str, Column]) -> dict[str, Rows]:
    return {name: column.rows() for name, column in columns.items()}


def _column_beside(variables: dict[str, Variable], name: str, member: str, count: int, spec: Spec) -> tuple[Column, Field]:
    if member not in variables:
        raise Refused(f"data={spec.name!r} has no variable {member!r}; it has {_shown(variables)}: name one of them")
    variable = variables[member]
    if name == LABELS and is_text(variable):
        declared = field_beside(name, variable.shape[:1], np.dtype(np.int64), count, member)
        names = names_of(variable.mapped(), member)
        return Column(variable, True, names), replace(declared, names=names)
    declared = field_beside(name, variable.shape, variable.dtype, count, member)
    return Column(variable, name == LABELS), declared if name == LABELS else _as_unpacked(declared, variable)


def _as_unpacked(field: Field, variable: Variable) -> Field:
    return field if variable.packing.is_none else replace(field, dtype=np.dtype(np.float32), scale=1.0)


def _samples_member(variables: dict[str, Variable], spec: Spec) -> str:
    if (member := spec.member and spec.member.lstrip("/")) in variables:
        return member
    if member is not None:
        raise Refused(f"data={spec.name!r} has no variable {member!r}; it has {_shown(variables)}: name one of them")
    able = [name for name, variable in variables.items() if len(variable.shape) >= 2 and not is_text(variable)]
    if len(able) == 1:
        return able[0]
    raise Refused(f"data={spec.name!r} holds {'several' if able else 'no'} variables that could be samples, "
                  f"{_shown(variables)}: write which, as {spec.path}:NAME")


def _shown(variables: dict[str, Variable]) -> str:
    able = {name: variable for name, variable in variables.items() if len(variable.shape) >= 2} or variables
    return ", ".join(f"{name} {variable.shape} {variable.dtype.name}" for name, variable in sorted(able.items())) or "none"


def _beside(variables: dict[str, Variable], samples: Variable, spec: Spec) -> dict[str, str]:
    named = {name: member.lstrip("/") for name, member in spec.beside.items()}
    default = next((key for key in ("labels", "y") if key in variables and variables[key].dtype.kind in "iu"
                    and variables[key].shape == samples.shape[:1] and not variables[key].is_coordinate), None)
    return named if LABELS in named or default is None else {LABELS: default, **named}


def _variables(spec: Spec) -> dict[str, Variable]:
    from scipy.io import netcdf_file

    with warnings.catch_warnings():  # SciPy's, of arrays that still exist where the file is closed
        warnings.simplefilter("ignore")
        with netcdf_file(str(spec.path), "r", mmap=True) as file:
            return {name: _variable(spec, name, found) for name, found in file.variables.items() if found.shape}


def _variable(spec: Spec, name: str, found) -> Variable:
    values = base = found.data
    while isinstance(base.base, np.ndarray):  # up to the array of all bytes of the file
        base = base.base
    attributes = tuple((key, getattr(found, key)) for key in NAMES if hasattr(found, key))
    return Variable(spec.path, values.shape, values.dtype, values.ctypes.data - base.ctypes.data, values.strides[0],
                    found.dimensions == (name,), attributes)
