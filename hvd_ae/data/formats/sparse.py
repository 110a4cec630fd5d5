"""Sparse matrices as AnnData lays them down in HDF5, made dense a block of rows at a time.

https://anndata.readthedocs.io/en/stable/fileformat-prose.html#sparse-arrays
"""

import math
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.errors import Refused

_MOST_BYTES_A_BLOCK = 16 << 20  # made dense
_CHUNKS_A_BLOCK = 4  # of the values, if that is not too much: blocks do not end where chunks end, and those are decoded twice
_BYTES_IN_MEMORY = 256 << 20  # of a matrix that is stored by columns, which takes all of it to give one row
_MOST_BLOCKS = 10_000_000


@dataclass(frozen=True)
class Layout:
    """What a group says of itself."""

    kind: str  # csr or csc
    shape: tuple[int, int]
    dtype: np.dtype
    stored: int  # values that are not zero
    bytes_stored: int  # of all values and their columns
    values_a_chunk: int

    @classmethod
    def of(cls, group) -> "Layout | None":
        """Of a group of HDF5; None where it holds no sparse matrix."""
        kind = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", ""))
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if kind.removesuffix("_matrix") not in ("csr", "csc"):
            return None
        count, columns = (int(length) for length in group.attrs["shape" if "shape" in group.attrs else "h5sparse_shape"])
        data, indices = group["data"], group["indices"]
        return cls(kind[:3], (count, columns), data.dtype, data.size, data.nbytes + indices.nbytes, (data.chunks or (1,))[0])

    def block_starts(self) -> np.ndarray:
        count, columns = self.shape
        row_bytes, values_a_row = max(1, columns * 4), max(1.0, self.stored / count)
        rows = max(bytes_a_block(count * row_bytes) // row_bytes,
                   min(_MOST_BYTES_A_BLOCK // row_bytes, math.ceil(_CHUNKS_A_BLOCK * self.values_a_chunk / values_a_row)), 1)
        if count // rows > _MOST_BLOCKS or row_bytes > 1 << 31:
            raise ValueError(f"a matrix that is said to be {count} x {columns}")
        return np.arange(0, count, rows)

    def check(self, member: str, name: str) -> None:
        """Refuse what would not fit in memory, or not be numbers."""
        if self.kind == "csc" and self.bytes_stored > _BYTES_IN_MEMORY:
            raise Refused(f"data={name!r}: {member} is stored by columns (CSC), so that one sample takes all of its "
                          f"{self.bytes_stored} bytes, more than {_BYTES_IN_MEMORY}: store it by rows, with adata.X = "
                          "adata.X.tocsr() and adata.write_h5ad(...)")


class SparseRows:
    """Rows of a sparse matrix, dense."""

    def __init__(self, group):
        layout = Layout.of(group)
        self.shape, self.dtype = layout.shape, np.dtype(np.uint8 if layout.dtype == np.uint8 else np.float32)
        parts = group["data"], group["indices"], group["indptr"]
        if not parts[0].shape == parts[1].shape == (layout.stored,) or min(layout.shape) < 0:
            raise ValueError("a sparse matrix whose values and indices do not fit each other")
        self._data, self._indices, self._indptr = parts if layout.kind == "csr" else self._by_rows(parts)
        if self._indptr.shape != (self.shape[0] + 1,):
            raise ValueError(f"a sparse matrix of {self.shape[0]} rows with {self._indptr.shape} row pointers")

    def __getitem__(self, stretch: slice) -> np.ndarray:
        first, end = stretch.start, min(stretch.stop, self.shape[0])
        return _dense(self._data, self._indices, self._indptr[first : end + 1], (end - first, self.shape[1]), self.dtype)

    def _by_rows(self, parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        data, columns, indptr = (part[()] for part in parts)
        matrix = _checked(data.astype(self.dtype), columns, indptr, self.shape[::-1]).transpose().tocsr()
        return matrix.data, matrix.indices, matrix.indptr


def _dense(data, indices, indptr: np.ndarray, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    first, end = int(indptr[0]), int(indptr[-1])
    if not 0 <= first <= end <= len(data):
        raise ValueError("row pointers beyond the values")
    with np.errstate(over="ignore"):
        values = np.asarray(data[first:end]).astype(dtype)
    return _checked(values, indices[first:end], indptr - indptr[0], shape).toarray()


def _checked(values: np.ndarray, columns: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]):
    """A matrix of SciPy's, which would write outside of its memory if a damaged file told it to."""
    from scipy.sparse import csr_array

    if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < shape[1]:
        raise ValueError(f"a column outside of the {shape[1]} that there are")
    indptr = indptr.astype(np.int64)
    if len(indptr) != shape[0] + 1 or indptr[0] != 0 or indptr[-1] != len(values) or (np.diff(indptr) < 0).any():
        raise ValueError("row pointers that do not ascend")
    return csr_array((values, columns, indptr), shape)
