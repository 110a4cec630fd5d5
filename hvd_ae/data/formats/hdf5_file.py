"""Opening an HDF5 file, and making a source of some of its columns."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.formats import hdf5_virtual
from hvd_ae.data.formats.classes import Numbered
from hvd_ae.data.formats.hdf5_rows import mapped, packing_of, rows_of
from hvd_ae.data.formats.rows import Rows, RowsSource
from hvd_ae.data.source import SAMPLES, Field, Source
from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused

_BYTES_IN_MEMORY = 64 << 20  # of what lies beside samples that are mapped, where it cannot be mapped itself


@contextmanager
def opened(spec: Spec) -> Iterator[object]:
    """The file, to look at what is in it.

    Raises:
        Refused: it is missing, is no HDF5 file, or something in it cannot be read.
    """
    import h5py

    try:
        spec.path.open("rb").close()  # since h5py's messages are long
    except OSError as error:
        raise Refused(f"data={spec.name!r} cannot be read ({error.strerror}): check the path") from None
    if not h5py.is_hdf5(spec.path):
        raise Refused(f"data={spec.name!r} does not begin as an HDF5 file does: copy it anew, or write it with h5py")
    try:
        with open_hdf5(spec.path) as file:
            yield file
    except Refused:
        raise
    except Exception as error:  # h5py has many, and of damaged files nearly all
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"data={spec.name!r} is no whole HDF5 file ({type(error).__name__}: {reason}): copy or write it "
                      "anew") from None


def open_hdf5(path: Path):
    """Without a lock, which many file systems of clusters refuse also to those who only read."""
    import h5py

    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # this process has it open already, with a lock: HDF5 wants the same again


class Column(Protocol):
    """Where one field of the samples lies; may be pickled, unlike anything of h5py."""

    member: str

    def rows(self, file) -> Rows: ...

    def array(self, file) -> np.ndarray | None:
        """All of it, left in the file; None where it does not lie there as plain numbers in one stretch."""


@dataclass(frozen=True)
class Values:
    """Real numbers, perhaps packed."""

    member: str
    name: str  # of the data, for messages

    def rows(self, file) -> Rows:
        return rows_of(file[self.member], self.name)

    def array(self, file) -> np.ndarray | None:
        return mapped(file[self.member]) if packing_of(file[self.member], self.name).is_none else None


@dataclass(frozen=True)
class Classes:
    """Whole numbers, or text where there are names; never packed."""

    member: str
    names: tuple[str, ...] = ()

    def rows(self, file) -> Rows:
        return Numbered(file[self.member], self.names) if self.names else file[self.member]

    def array(self, file) -> np.ndarray | None:
        return None if self.names else mapped(file[self.member])


def source_of(spec: Spec, file, columns: Mapping[str, Column], fields: Mapping[str, Field], count: int,
              block_starts: np.ndarray) -> Source:
    """Samples that are read one by one where the file's layout allows it, else block by block."""
    if (arrays := _arrays(file, columns)) is not None:
        arrays = {name: array.reshape(count, *fields[name].shape) for name, array in arrays.items()}
        return ArraySource(spec.name, arrays, fields)
    files = dict.fromkeys(path for column in columns.values() for path in _files(file[column.member], spec))
    return RowsSource(spec.name, fields, count, block_starts, list(files), partial(_open_rows, spec.path, columns))


def _open_rows(path: Path, columns: Mapping[str, Column]) -> dict[str, Rows]:
    file = open_hdf5(path)
    return {name: column.rows(file) for name, column in columns.items()}


def _arrays(file, columns: Mapping[str, Column]) -> dict[str, np.ndarray] | None:
    """All fields as arrays that are left in the file, or small and in memory; None where that cannot be had."""
    arrays = {name: column.array(file) for name, column in columns.items()}
    if arrays[SAMPLES] is None:
        return None
    for name, column in columns.items():
        if arrays[name] is None:
            rows = column.rows(file)
            if np.prod(rows.shape, dtype=float) * rows.dtype.itemsize > _BYTES_IN_MEMORY:
                return None
            arrays[name] = rows[0 : rows.shape[0]]
    return arrays


def _files(found, spec: Spec) -> list[Path]:
    """What a member is read from; a link may have led to another file than the one that was named."""
    is_virtual = getattr(found, "is_virtual", False)  # a group is not
    return [Path(found.file.filename), *(hdf5_virtual.source_files(found, spec.name) if is_virtual else ())]
