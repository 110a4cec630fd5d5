"""AnnData files, `cells.h5ad` or `cells.h5ad:layers/counts`: a row is a cell, made dense block by block where it is sparse.

https://anndata.readthedocs.io/en/stable/fileformat-prose.html; files of anndata before 0.7 are read too.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvd_ae.data.formats import hdf5, obs
from hvd_ae.data.formats.hdf5_file import Column, Values, opened, source_of
from hvd_ae.data.formats.rows import Rows
from hvd_ae.data.formats.sparse import Layout, SparseRows
from hvd_ae.data.source import SAMPLES, Field, Source
from hvd_ae.data.spec import Spec, check_sample_kind, field_beside
from hvd_ae.errors import Refused

_FOLDERS = ("", "layers", "raw", "obsm")  # where matrices lie that have a row for each cell


def reads(path: Path) -> bool:
    return path.suffix == ".h5ad"


def read(spec: Spec) -> Source:
    """Samples of `X`, or of another matrix with a row for each cell.

    Raises:
        Refused: the file is missing or damaged, or does not hold samples.
    """
    with opened(spec) as file:
        member = spec.member.strip("/") if spec.member else "X"
        columns, fields = {}, {}
        columns[SAMPLES], fields[SAMPLES], shape = _matrix(file, member, spec)
        for name, beside in spec.beside.items():
            columns[name], fields[name] = _beside(file, name, beside.strip("/"), shape[0], spec)
        layout = Layout.of(file[member]) if isinstance(columns[SAMPLES], Sparse) else None
        starts = layout.block_starts() if layout else hdf5.starts_of(file[member], spec)
        return source_of(spec, file, columns, fields, shape[0], starts)


@dataclass(frozen=True)
class Sparse:
    """A sparse matrix."""

    member: str

    def rows(self, file) -> Rows:
        return SparseRows(file[self.member])

    def array(self, file) -> None:
        return None


def _matrix(file, member: str, spec: Spec) -> tuple[Column, Field, tuple[int, ...]]:
    found = file.get(member)
    if found is not None and hasattr(found, "dtype"):
        return Values(member, spec.name), hdf5.samples_field(found, spec.name), found.shape
    layout = None if found is None else Layout.of(found)
    if layout is None:
        raise Refused(f"data={spec.name!r} has no matrix {member!r}; it has {_shown(file)}: write which, as {spec.path}:NAME")
    check_sample_kind(layout.shape, layout.dtype, spec.name)
    layout.check(member, spec.name)
    for part in ("data", "indices", "indptr"):
        hdf5.check_can_be_read(found[part], spec.name)
    SparseRows(found)  # whether its parts fit each other
    declared = Field.of_numbers(layout.shape[1:], layout.dtype)
    return Sparse(member), replace(declared, bytes_stored=max(1, layout.bytes_stored // layout.shape[0])), layout.shape


def _beside(file, name: str, member: str, count: int, spec: Spec) -> tuple[Column, Field]:
    """A column of `obs`, or another matrix."""
    if member.startswith("obs/"):
        return obs.column(file, name, member.removeprefix("obs/"), count, spec)
    column, field, shape = _matrix(file, member, spec)
    field_beside(name, shape, np.dtype(np.float32), count, member)
    return column, field


def _shown(file) -> str:
    held = []
    for folder in _FOLDERS:
        group = file.get(folder or "/")
        for name in group if hasattr(group, "keys") else ():
            found, path = group[name], f"{folder}/{name}".lstrip("/")
            layout = None if hasattr(found, "dtype") else Layout.of(found)
            shape = layout.shape if layout else getattr(found, "shape", None)
            if shape and len(shape) >= 2:
                held.append(f"{path} {tuple(shape)}{' ' + layout.kind if layout else ''}")
    return ", ".join(held) or "none"
