"""Virtual data sets of HDF5: one array whose samples lie in other files."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hvd_ae.errors import Refused


def source_files(data_set, name: str) -> list[Path]:
    """The files that it takes its samples from, as far as their names are written out.

    Raises:
        Refused: one is not there, in whose place HDF5 would silently give fill values.
    """
    names = dict.fromkeys(source.file_name for source in data_set.virtual_sources())
    files = [_found(data_set, file) for file in names if file != "." and "%" not in file]
    gone = [str(file) for file in files if not file.is_file()]
    if gone:
        raise Refused(f"data={name!r} takes samples from {gone[0]}, which is not there{_more(gone)}: bring it, or write the "
                      "virtual data set anew")
    return files


def _more(gone: list[str]) -> str:
    return f" (nor are {len(gone) - 1} more)" if len(gone) > 1 else ""


def _found(data_set, file: str) -> Path:
    """As HDF5 looks for it: in the folder of the file that names it, in the current one, and where a symbolic link leads."""
    of_virtual = data_set.file.filename
    places = [Path(os.path.dirname(of_virtual), file), Path(file), Path(os.path.dirname(os.path.realpath(of_virtual)), file)]
    return next((place for place in places if place.is_file()), places[0])


def block_starts(data_set, rows_of_block: Callable[[object], int]) -> np.ndarray:
    """The first sample of each block: a block ends where a file ends, and holds whole chunks of the first file's layout."""
    count, first = data_set.shape[0], opened_source(data_set)
    if first is None:
        return np.arange(0, count, rows_of_block(data_set))
    bounds = [source.vspace.get_select_bounds() for source in data_set.virtual_sources()]
    starts = [np.arange(first_of[0], last_of[0] + 1, rows_of_block(first)) for first_of, last_of in bounds]
    starts = np.unique(np.concatenate([[0], *starts])).astype(np.int64)
    return starts[starts < count]


def opened_source(data_set):
    """The first data set that samples are taken from; None where there are as many files as there happen to be."""
    import h5py

    sources = data_set.virtual_sources()
    if not sources or any("%" in source.file_name for source in sources):
        return None
    file = data_set.file.filename if sources[0].file_name == "." else _found(data_set, sources[0].file_name)
    return h5py.File(file, "r", locking=False)[sources[0].dset_name]
