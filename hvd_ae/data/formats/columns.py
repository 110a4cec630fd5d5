"""Tables: which columns are the samples and which lie beside them, and a block of rows as one array."""

import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.formats import arrow
from hvd_ae.data.source import LABELS, SAMPLES, BlockSource, Field
from hvd_ae.data.spec import Spec, field_beside
from hvd_ae.errors import Refused

_INDEX = re.compile(r"__index_level_\d+__|")  # what pandas calls the row numbers that it saves, in Parquet and in CSV
_LISTED = 30  # columns in a message


class TableSource(BlockSource):
    """Rows of a table. A format gives `_rows`, and says what the columns are as an Arrow schema.

    A sample is its columns' numbers one after another, in the order in which they were named; a single column of vectors
    keeps their shape. Missing values become NaN, and texts that are labels the numbers of their sorted names.
    """

    def __init__(self, spec: Spec, schema, count: int, block_starts: Sequence[int], files: Sequence[Path]):
        if not count:
            raise Refused(f"data={spec.name!r} holds no rows: give at least one")
        super().__init__(spec.name, {}, count, block_starts, files)
        self._columns = chosen_columns(spec, schema)
        self._kinds = {name: schema.field(name).type for name in self._all_columns(self._columns)}
        self._shapes = {name: arrow.numbers_shape(kind) for name, kind in self._kinds.items()}
        if lists := [name for name, shape in self._shapes.items() if arrow.ANY_LENGTH in (shape or ())]:
            first = self._rows(0, lists)
            self._shapes |= {name: arrow.seen_shape(arrow.whole(first.column(name)), self._shapes[name]) for name in lists}
        self.fields = {field: self._declared(field, columns) for field, columns in self._columns.items()}

    @abstractmethod
    def _rows(self, block: int, columns: Sequence[str]):
        """An Arrow table or record batch of these columns of a block."""

    def _decode(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        rows = self._rows(block, self._all_columns(fields))
        return {field: self._values(field, rows, block) for field in fields}

    def _all_columns(self, fields: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(name for field in fields for name in self._columns[field]))

    def _declared(self, field: str, columns: Sequence[str]) -> Field:
        kinds, shapes = [self._kinds[name] for name in columns], [self._shapes[name] for name in columns]
        if field == LABELS and arrow.is_text(kinds[0]):
            return replace(Field.of_classes(np.empty(0, np.int64)), names=tuple(self._names(columns[0])))
        shape = shapes[0] if len(columns) == 1 else (sum(math.prod(shape) for shape in shapes),)
        dtypes = [arrow.numbers_dtype(kind) for kind in kinds]
        # one column of numbers is a vector of one, but beside the samples a number
        shape = (1,) if field == SAMPLES and not shape else shape
        if 0 in shape:
            raise Refused(f"data={self.name!r}: column {columns[0]!r} holds lists of no values: leave it out")
        dtype = dtypes[0] if len(set(dtypes)) == 1 else np.dtype(np.float32)
        declared = Field.of_numbers(shape, dtype) if field == SAMPLES else \
            field_beside(field, (self.count, *shape), dtype, self.count, ",".join(columns))
        stored = sum(math.prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, dtypes))
        return replace(declared, bytes_stored=stored)

    def _names(self, column: str) -> list[str]:
        """All texts of a column, sorted: one pass over it alone."""
        names = set()
        for block in range(len(self.block_starts)):
            array = arrow.whole(self._rows(block, [column]).column(column))
            names.update(self._texts(array, column, block).unique().to_pylist())
        return sorted(names)

    def _texts(self, array, column: str, block: int):
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = array.cast(pa.string())
        absent = pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False)
        self._refuse_absent(absent, column, block)
        return texts

    def _values(self, field: str, rows, block: int) -> np.ndarray:
        """A field of a block's rows, of its dtype."""
        columns, declared, first = self._columns[field], self.fields[field], self.block_range(block)[0]
        if declared.names:
            import pyarrow as pa
            import pyarrow.compute as pc

            texts = self._texts(arrow.whole(rows.column(columns[0])), columns[0], block)
            return arrow.own(pc.index_in(texts, pa.array(declared.names)).to_numpy(zero_copy_only=False), declared.dtype)
        parts = []
        for name in columns:
            part = arrow.numbers(arrow.whole(rows.column(name)), self._shapes[name], lambda row, name=name:
                                 f"data={self.name!r}: column {name!r} in sample {self.number(first + row)}")
            if declared.dtype.kind in "iu" and part.dtype.kind == "f":  # they are stored as integers: NaN is what is missing
                self._refuse_absent(np.isnan(part).reshape(len(part), -1).any(axis=1), name, block)
            parts.append(part)
        if len(parts) > 1:
            return arrow.side_by_side(parts, declared.dtype)
        return arrow.own(parts[0].reshape(-1, *declared.shape), declared.dtype)

    def _refuse_absent(self, absent: np.ndarray, column: str, block: int) -> None:
        if absent.any():
            row = self.block_range(block)[0] + int(np.flatnonzero(absent)[0])
            raise Refused(f"data={self.name!r}: column {column!r} holds no value in sample {self.number(row)}, where "
                          "a label or a whole number is needed: fill it in, or drop the row")


def chosen_columns(spec: Spec, schema) -> dict[str, list[str]]:
    """The columns of each field, by the names that the user gave; without any, all that hold numbers are the samples.

    Raises:
        Refused: a column that is not there, is there twice, or holds no numbers.
    """
    if spec.member and spec.columns:
        raise Refused(f"data={spec.name!r} names a column and columns={','.join(spec.columns)!r} does too: drop one of them")
    name, times = max(Counter(schema.names).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        raise Refused(f"data={spec.name!r} has {times} columns named {name!r}: give each a name of its own")
    chosen = {SAMPLES: [spec.member] if spec.member else list(spec.columns)}
    for field, text in spec.beside.items():
        chosen[field] = [text] if text in schema.names or field == LABELS else text.split(",")
    taken = {name for names in chosen.values() for name in names}
    for name in sorted(taken - set(schema.names)):
        raise Refused(f"data={spec.name!r} has no column {name!r}: it has {_listed(schema)}")
    of_numbers = {name for name in schema.names if arrow.numbers_shape(schema.field(name).type) is not None}
    if not chosen[SAMPLES]:
        chosen[SAMPLES] = [name for name in schema.names if name in of_numbers - taken and not _INDEX.fullmatch(name)]
    if not chosen[SAMPLES]:
        raise Refused(f"data={spec.name!r} has no column of numbers for the samples: it has {_listed(schema)}")
    for field, names in chosen.items():
        for name in names:
            if name not in of_numbers and not (field == LABELS and arrow.is_text(schema.field(name).type)):
                raise Refused(f"{field}={name!r} of data={spec.name!r} is a column of type {schema.field(name).type}, where "
                              "numbers are needed: save it as float32, or leave it out")
    return chosen


def _listed(schema) -> str:
    columns = [f"{name!r} ({schema.field(name).type})" for name in schema.names]
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    return ", ".join(columns[:_LISTED]) + more


def join_parts(rows: Sequence[int], sizes: Sequence[int]) -> tuple[list[int], list[range]]:
    """Blocks of consecutive parts of a file, small ones together.

    Args:
        rows: of each part; one without rows makes no block.
        sizes: of each part, in bytes.

    Returns:
        The number of each block's first row, and the parts of each block.
    """
    starts, firsts, row, filled, most = [], [], 0, 0, bytes_a_block(sum(sizes))
    for part, (count, size) in enumerate(zip(rows, sizes)):
        if count and (not starts or filled + size > most):
            starts.append(row)
            firsts.append(part)
            filled = 0
        filled += size
        row += count
    return starts, [range(first, end) for first, end in zip(firsts, [*firsts[1:], len(rows)])]
