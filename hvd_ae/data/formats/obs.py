"""Columns of AnnData's `obs`, what is known of each cell: categories, text or numbers, as any version has written them."""

from dataclasses import dataclass, replace

import numpy as np

from hvd_ae.data.formats.classes import Numbered, as_text, is_text, names_of, stretches
from hvd_ae.data.formats.hdf5_file import Column
from hvd_ae.data.formats.hdf5_rows import check_filters
from hvd_ae.data.formats.rows import Rows
from hvd_ae.data.source import LABELS, Field
from hvd_ae.data.spec import Spec, field_beside
from hvd_ae.errors import Refused


@dataclass(frozen=True)
class Obs:
    """A column, which reads as the codes of its categories, or as the numbers of its texts' names, where it has such."""

    member: str
    key: str = ""  # of a table, as anndata before 0.7 wrote it: the column's name
    names: tuple[str, ...] = ()  # of texts; categories are numbers already

    def rows(self, file) -> Rows:
        found = file[self.member]
        rows = OfTable(found, self.key) if self.key else found
        return Numbered(rows, self.names) if self.names else rows

    def array(self, file) -> None:
        return None  # one number a cell: it is read


class OfTable:
    """One column of a data set of records."""

    def __init__(self, table, key: str):
        self._column, self.shape, self.dtype = table.fields(key), table.shape, table.dtype[key]

    def __getitem__(self, stretch: slice) -> np.ndarray:
        return self._column[stretch]


def column(file, name: str, key: str, count: int, spec: Spec) -> tuple[Column, Field]:
    """A column as labels, targets or condition.

    Raises:
        Refused: it is not there, some cells have no value in it, or its values are not what is needed.
    """
    place, categories = _place(file, key, spec)
    member = f"obs/{key}"
    rows = place.rows(file)
    if categories is not None:
        if name != LABELS:
            raise Refused(f"{name}={member!r} holds categories, where real numbers are needed: only labels can be categories")
        names = tuple(as_text(categories[()]).tolist()) if is_text(categories) else tuple(map(str, categories[()].tolist()))
        declared = field_beside(name, rows.shape, rows.dtype, count, member)
        _check_codes(rows, len(names), member)
        return place, replace(declared, names=names)
    if name == LABELS and is_text(rows):
        declared = field_beside(name, rows.shape, np.dtype(np.int64), count, member)
        names = names_of(rows, member)
        return replace(place, names=names), replace(declared, names=names)
    return place, field_beside(name, rows.shape, rows.dtype, count, member)


def _place(file, key: str, spec: Spec) -> tuple[Obs, object | None]:
    """Where a column's values or codes lie, and its categories."""
    table, member = file.get("obs"), f"obs/{key}"
    if key not in _keys(table):
        raise Refused(f"data={spec.name!r} has no column {key!r} in obs; it has {', '.join(sorted(_keys(table))) or 'none'}: "
                      "name one of them")
    if hasattr(table, "dtype"):
        check_filters(table, spec.name)
        return Obs("obs", key), file.get(f"uns/{key}_categories")
    parts = {} if hasattr(table[key], "dtype") else {part: f"{member}/{part}" for part in table[key]}
    for part in parts.values() or [member]:
        check_filters(file[part], spec.name)
    if "codes" in parts:
        categories = file[parts["categories"]]
        return Obs(parts["codes"]), categories if hasattr(categories, "dtype") else categories["values"]
    if "mask" in parts:
        if any(part.any() for part in stretches(file[parts["mask"]])):
            raise Refused(f"data={spec.name!r}: {member} has no value for some cells: leave those out, with "
                          f"adata[adata.obs[{key!r}].notna()]")
        return Obs(parts["values"]), None
    if parts:
        raise Refused(f"data={spec.name!r}: {member} is a group of {', '.join(sorted(parts))}, not a column: name another")
    return Obs(member), file.get(f"obs/__categories/{key}")


def _keys(table) -> tuple[str, ...]:
    """Of a table, as anndata before 0.7 wrote it, or of a group; none where there is neither."""
    names = table.dtype.names if hasattr(table, "dtype") else table
    return tuple(name for name in names or () if name != "__categories")


def _check_codes(rows: Rows, categories: int, member: str) -> None:
    """Every cell must have a category; AnnData writes -1 where one has none."""
    for part in stretches(rows):
        if (part < 0).any():
            raise Refused(f"labels={member!r} gives no category to some cells (code -1): leave those out, with "
                          f"adata[adata.obs[{member.removeprefix('obs/')!r}].notna()]")
        if (part >= categories).any():
            raise ValueError(f"a code beyond the {categories} categories")
