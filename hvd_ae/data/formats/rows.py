"""Samples of a format of which each field is read by stretches: from a data set, a memory map, or something that decodes."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hvd_ae.data.source import BlockSource, Field, as_read


class Rows(Protocol):
    """One field of all samples."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, stretch: slice) -> np.ndarray: ...


class RowsSource(BlockSource):
    """Samples in blocks, of which each process opens the file for itself, when it first reads.

    Args:
        open_rows: by field, what its stretches of samples are read from; may be pickled.
    """

    def __init__(self, name: str, fields: Mapping[str, Field], count: int, block_starts: np.ndarray, files: Sequence[Path],
                 open_rows: Callable[[], Mapping[str, Rows]]):
        super().__init__(name, fields, count, block_starts, files)
        self._open_rows = open_rows
        self._opened: tuple[int, Mapping[str, Rows]] | None = None  # by which process

    def _decode(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        first, end = self.block_range(block)
        rows = self._rows()
        return {name: as_read(rows[name][first:end], self.fields[name].dtype).reshape(end - first, *self.fields[name].shape)
                for name in fields}

    def _rows(self) -> Mapping[str, Rows]:
        """HDF5's handles do not survive a fork: a child that reads through its parent's gets other bytes than it asks for."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open_rows()
        return self._opened[1]

    def __getstate__(self):
        return {**self.__dict__, "_opened": None, "_last": (-1, {})}
