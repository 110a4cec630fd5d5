"""Several files as one data set, in the order of their names: a glob, a folder, or paths with commas between them.

All are opened once, to be compared, and again when they are read: thousands of files do not stay open.
"""

import glob
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.source import Field, Source, Splits, stamp
from hvd_ae.data.spec import all_files
from hvd_ae.errors import Refused

_KEPT_OPEN = 64  # files whose samples are read one by one
_KEPT_DECODED = 4  # others: each may hold a block, or all of itself, in memory
_IN_MEMORY = 1 << 30  # bytes of files that are read as a whole, such as .npz, and stay so as long as together they are no more


def find(data: str, formats: Sequence[ModuleType]) -> list[Path] | None:
    """The files that a glob, a folder, or paths with commas stand for, sorted; None where `data` is one path.

    Labels beside a file, and files of no known format, such as an index, are not samples.
    """
    path = Path(data)
    is_there = os.path.exists(data)  # other than Path's, it takes a list that is too long for a path
    if is_there and (not path.is_dir() or _kind(path, formats)):
        return None
    if "," in data and not is_there:
        parts = [(Path(part), find(part, formats)) for part in data.split(",") if part]
        return sorted(found for part, files in parts for found in ([part] if files is None else files))
    if is_there:
        found = list(path.iterdir())
    elif glob.has_magic(data):
        found = [Path(name) for name in glob.glob(data, recursive=True)]
    else:
        return None
    found = [path for path in found if _kind(path, formats)]
    beside = {other for path in found for other in all_files(_kind(path, formats), path)[1:] if other != path}
    return sorted(path for path in found if path not in beside)


def check(data: str, paths: Sequence[Path], formats: Sequence[ModuleType], suffixes: str) -> None:
    """Refuse what is not one or more files of one format.

    Raises:
        Refused: no files, files twice, or of several formats.
    """
    if not paths:
        raise Refused(f"data={data!r} stands for no file that is there and is {suffixes} or IDX: check the pattern, and quote "
                      "it, so that the shell leaves it as it is")
    if twice := next((path for path, following in zip(paths, paths[1:]) if path == following), None):
        raise Refused(f"data={data!r} names {twice} twice: name each file once")
    kinds = [_kind(path, formats) for path in paths]
    other = next((path for path, kind in zip(paths, kinds) if kind is not kinds[0]), None)
    if other:
        raise Refused(f"data={data!r} holds files of several formats, as {paths[0]} and {other}: name those of one, for "
                      f"instance as '*{paths[0].suffix}'")


def _kind(path: Path, formats: Sequence[ModuleType]) -> ModuleType | None:
    return next((kind for kind in formats if kind.reads(path)), None)


def read(name: str, paths: Sequence[Path], files_of: Callable[[Path], Sequence[Path]],
         open_file: Callable[[Path], Source | Splits]) -> Source | Splits:
    """One data set of all the files; training and test samples apart, where all files bring both.

    Raises:
        Refused: a file cannot be read, or does not hold what the first one holds.
    """
    first = open_file(paths[0])
    if isinstance(first, Splits):
        return Splits(Several(name, paths, files_of, lambda path: _part(open_file(path), path, paths[0]).train),
                      Several(name, paths, files_of, lambda path: _part(open_file(path), path, paths[0]).validation))
    return Several(name, paths, files_of, lambda path: _whole(open_file(path), path, paths[0]))


def _part(opened: Source | Splits, path: Path, first: Path) -> Splits:
    if not isinstance(opened, Splits):
        raise Refused(f"{path} brings no test samples, as {first} does: name files of one kind")
    return opened


def _whole(opened: Source | Splits, path: Path, first: Path) -> Source:
    if isinstance(opened, Splits):
        raise Refused(f"{path} brings test samples of its own, and {first} does not: name files of one kind")
    return opened


class Several(Source):
    """The samples of one file after those of the other.

    Args:
        files_of: all that is read for a path.
        open_file: what a path holds.
    """

    def __init__(self, name: str, paths: Sequence[Path], files_of: Callable[[Path], Sequence[Path]],
                 open_file: Callable[[Path], Source]):
        self.name, self._paths, self._open_file, self._files_of = name, list(paths), open_file, files_of
        self._open: OrderedDict[int, Source] = OrderedDict()
        self._lock = threading.Lock()
        counts, block_starts, in_memory, singly = [], [], 0, True
        self._names: list[dict[str, tuple[str, ...]]] = []  # of each file's classes
        self._stamps = []
        for path in paths:
            self._stamps.append(self._stamps_of(path))
            source = open_file(path)
            if not counts:
                self.fields = dict(source.fields)
            _compare(source.fields, self.fields, path, paths[0])
            self._names.append({field: declared.names for field, declared in source.fields.items() if declared.names})
            block_starts.append(np.asarray(source.block_starts, np.int64) + sum(counts[-1:]))
            counts.append(sum(counts[-1:]) + source.count)
            singly = singly and source.reads_single_samples
            in_memory += _bytes_in_memory(source)
        self.count, self._firsts = counts[-1], np.array([0, *counts[:-1]])
        self._block_starts = np.concatenate(block_starts)
        self._kept = len(paths) if 0 < in_memory <= _IN_MEMORY else _KEPT_OPEN if singly and not in_memory else _KEPT_DECODED
        self.reads_single_samples = singly and (not in_memory or self._kept >= len(paths))
        self._unite_names()

    def _unite_names(self) -> None:
        """A class has one number in all files, whatever it has in its own."""
        for field in {field for names in self._names for field in names}:
            of_files = [names.get(field, ()) for names in self._names]
            if any(names != of_files[0] for names in of_files):
                united = sorted({name for names in of_files for name in names})
                self.fields[field] = replace(self.fields[field], names=tuple(united))

    @property
    def block_starts(self) -> np.ndarray:
        return self._block_starts

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        indices = np.asarray(indices)
        chosen = {name: np.empty((len(indices), *self.fields[name].shape), self.fields[name].dtype) for name in fields}
        files = np.searchsorted(self._firsts, indices, side="right") - 1
        for file in np.unique(files):
            wanted = np.flatnonzero(files == file)
            read = self._source(file).read(indices[wanted] - self._firsts[file], fields)
            for name, values in self._renumbered(file, read).items():
                chosen[name][wanted] = values
        return chosen

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        file = int(np.searchsorted(self._firsts, self._block_starts[block], side="right") - 1)
        within = block - int(np.searchsorted(self._block_starts, self._firsts[file]))
        return self._renumbered(file, self._source(file).read_block(within, fields))

    def number(self, index: int) -> int | str:
        file = int(np.searchsorted(self._firsts, index, side="right") - 1)
        return f"{self._source(file).number(index - int(self._firsts[file]))} of {self._paths[file]}"

    def _source(self, file: int) -> Source:
        """One of the last few files, or one that is opened in the place of the oldest of them."""
        with self._lock:  # the thread that reads ahead may be here too
            if file not in self._open:
                self._open[file] = self._opened_again(file)
                if len(self._open) > self._kept:
                    self._open.popitem(last=False)
            self._open.move_to_end(file)
            return self._open[file]

    def _opened_again(self, file: int) -> Source:
        path = self._paths[file]
        if self._stamps_of(path) != self._stamps[file]:
            raise Refused(f"data={self.name!r}: {path} has changed since this run opened it: start again, with files that "
                          "stay as they are")
        return self._open_file(path)

    def _stamps_of(self, path: Path) -> list:
        return [stamp(file) for file in self._files_of(path) if os.path.exists(file)]

    def _renumbered(self, file: int, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for field, names in self._names[file].items():
            if field in read and names != self.fields[field].names:
                place = {name: number for number, name in enumerate(self.fields[field].names)}
                numbers = np.array([*(place[name] for name in names), -1])  # the last for -1: no class
                read[field] = numbers[read[field]]
        return read


def _bytes_in_memory(source: Source) -> int:
    if not isinstance(source, ArraySource):
        return 0
    return sum(array.nbytes for array in source.arrays.values() if not isinstance(array, np.memmap))


def _compare(fields: Mapping[str, Field], of_first: Mapping[str, Field], path: Path, first: Path) -> None:
    for name in {**of_first, **fields}:
        here, there = fields.get(name), of_first.get(name)
        if _kind_of(here) != _kind_of(there):
            raise Refused(f"{path} has {_said(name, here)}, and {first}, the first file, {_said(name, there)}: leave it out, "
                          "or write it as the others are")


def _kind_of(field: Field | None) -> tuple | None:
    return None if field is None else (field.shape, field.dtype, field.scale, bool(field.names))


def _said(name: str, field: Field | None) -> str:
    if field is None:
        return f"no {name}"
    return f"{name} of shape {field.shape} and type {'text' if field.names else field.dtype}"
