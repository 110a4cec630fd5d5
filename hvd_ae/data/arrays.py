"""Samples in arrays, in memory or in a memory-mapped file: read sample by sample, and never as a whole."""

import mmap
from collections.abc import Mapping, Sequence

import numpy as np

from hvd_ae.data.source import LABELS, SAMPLES, Field, Source
from hvd_ae.runtime.aligned import aligned_empty

_SCATTERED = 128  # samples of a file at a time: to read one, Linux may map the 2 MB around it


class ArraySource(Source):
    """Arrays whose first axis counts the samples.

    Args:
        arrays: by the name of the field, (count, *shape) of any real dtype; may be read-only memory maps.
        fields: how each is read.
    """

    def __init__(self, name: str, arrays: Mapping[str, np.ndarray], fields: Mapping[str, Field]):
        self.name, self.arrays, self.fields = name, dict(arrays), dict(fields)
        self.count = len(next(iter(arrays.values())))
        self.in_memory = not any(map(_is_mapped, self.arrays.values()))

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: _read(self.arrays[name], np.asarray(indices), self.fields[name].dtype) for name in fields}


def from_arrays(name: str, samples: np.ndarray, labels: np.ndarray | None = None) -> ArraySource:
    """A source of samples (count, ...) and, where there are any, one whole number for each (count,)."""
    arrays, fields = {SAMPLES: samples}, {SAMPLES: Field.of_values(samples)}
    if labels is not None:
        arrays[LABELS], fields[LABELS] = labels, Field.of_classes(labels)
    return ArraySource(name, arrays, fields)


def _read(array: np.ndarray, indices: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if _is_mapped(array) and len(indices) > _SCATTERED and not _is_stretch(indices):
        values = np.empty((len(indices), *array.shape[1:]), dtype)
        for start in range(0, len(indices), _SCATTERED):
            piece = slice(start, start + _SCATTERED)
            values[piece] = _read(array, indices[piece], dtype)
        return values
    first, is_stretch = int(indices[0]) if len(indices) else 0, _is_stretch(indices)
    chosen = array[first : first + len(indices)] if is_stretch else array[indices]
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, which `checks` refuses
        if is_stretch:
            values = aligned_empty(chosen.shape, dtype)
            np.copyto(values, chosen, casting="unsafe")
        else:
            values = chosen.astype(dtype, order="C", subok=False, copy=False)
    _let_go_of_pages(array)
    return values


def _is_stretch(indices: np.ndarray) -> bool:
    """Whether these are consecutive."""
    return len(indices) == 0 or np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices)))


def _is_mapped(array: np.ndarray) -> bool:
    return getattr(array, "mode", None) == "r"  # what has been written into another map might be lost


def _let_go_of_pages(array: np.ndarray) -> None:
    """Pages of a memory-mapped file that have been read stay in the system's cache, but not in this process's memory.

    Without it a rank would grow by the whole file: to read a sample the system maps the pages around it too.
    """
    if _is_mapped(array):
        array._mmap.madvise(mmap.MADV_DONTNEED)
