"""Arrow columns as NumPy arrays. pyarrow's import is left to the functions, and these are called once it has been imported."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hvd_ae.data.source import as_read
from hvd_ae.errors import Refused

_ROWS_TURNED = 64
ANY_LENGTH = -1  # of a list column, until a row is seen


def numbers_shape(kind) -> tuple[int, ...] | None:
    """The shape of one row's numbers in a column of this Arrow type; None where it holds no numbers."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.FixedShapeTensorType):
        is_in_order = list(kind.permutation or ()) in ([], list(range(len(kind.shape))))
        return tuple(kind.shape) if is_in_order else None
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        inner = numbers_shape(kind.value_type)
        return None if inner is None else (kind.list_size if types.is_fixed_size_list(kind) else ANY_LENGTH, *inner)
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    return () if is_number else None


def numbers_dtype(kind) -> np.dtype:
    """What one of its numbers is stored as."""
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType):
        return numbers_dtype(kind.value_type)
    if hasattr(kind, "value_type"):
        return numbers_dtype(kind.value_type)
    return np.dtype(np.float64 if pa.types.is_decimal(kind) else kind.to_pandas_dtype())


def is_text(kind) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def whole(column):
    """A column of a table or record batch as one array."""
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) and column.num_chunks != 1 else \
        column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def seen_shape(array, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with the lengths of lists that the type leaves open, as the first row has them."""
    if ANY_LENGTH not in shape:
        return tuple(shape)
    array = array.drop_null()
    length = shape[0] if shape[0] != ANY_LENGTH else len(array[0]) if len(array) else 0
    return length, *seen_shape(array.flatten(), shape[1:])


def numbers(array, shape: tuple[int, ...], where: Callable[[int], str]) -> np.ndarray:
    """The values of a column, (rows, *shape); missing ones, and all of a missing vector, are NaN.

    Args:
        where: what to call the row of this number, for messages.

    Raises:
        Refused: a list of another length, which is named by its row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ExtensionArray):  # a tensor lies as one list
        flat = numbers(array.storage, (math.prod(shape),), where)
        return flat.reshape(len(flat), *shape)
    if not shape:
        if pa.types.is_boolean(array.type) or pa.types.is_decimal(array.type):
            array = array.cast(pa.float64() if pa.types.is_decimal(array.type) else pa.uint8())
        return array.to_numpy(zero_copy_only=False)
    there = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    lengths = pc.list_value_length(array.drop_null()).to_numpy(zero_copy_only=False)
    if (odd := np.flatnonzero(lengths != math.prod(shape[:1]))).size:
        raise Refused(f"{where(int(there[odd[0]]))} is a list of {lengths[odd[0]]} values, where the first one has "
                      f"{shape[0]}: all must be of one length; pad them, or leave the column out")
    # flatten leaves out what lists that are missing may hold
    values = numbers(array.flatten(), shape[1:], lambda inner: where(int(there[inner // shape[0]])))
    values = values.reshape(len(there), *shape)
    if len(there) == len(array):
        return values
    full = np.full((len(array), *shape), np.nan, np.result_type(values.dtype, np.float32))
    full[there] = values
    return full


def side_by_side(parts: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Arrays (rows, ...) as one (rows, features), new and contiguous."""
    rows = len(parts[0])
    widths = [math.prod(part.shape[1:]) for part in parts]
    columns, together = np.empty((sum(widths), rows), dtype), np.empty((rows, sum(widths)), dtype)
    with np.errstate(over="ignore"):
        for end, width, part in zip(np.cumsum(widths), widths, parts):
            columns[end - width:end] = part.reshape(rows, width).T
    for first in range(0, rows, _ROWS_TURNED):  # a few rows at a time, which stay in the processor's cache
        together[first:first + _ROWS_TURNED] = columns[:, first:first + _ROWS_TURNED].T
    return together


def own(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """As `as_read`, and never a view of Arrow's memory, which is not to be written."""
    return np.require(as_read(values, dtype), requirements=["C", "W"])
