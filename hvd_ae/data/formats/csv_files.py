"""`.csv` and `.tsv`, plain or `.gz`: parsed by pyarrow, a few megabytes of lines at a time.

A pass over the file, when it is opened, finds where blocks of lines begin; what a column holds is seen in the first block.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hvd_ae.data.formats.columns import TableSource
from hvd_ae.data.formats.csv_lines import index_lines
from hvd_ae.data.formats.optional import import_for
from hvd_ae.data.formats.parquet import opened_table
from hvd_ae.data.formats.unpacked import unpacked
from hvd_ae.data.source import LABELS, Source
from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused

HAS_COLUMNS = True
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MISSING = frozenset(("", "na", "n/a", "null", "nan"))


def reads(path: Path) -> bool:
    return _suffix(path) in _DELIMITERS


def read(spec: Spec) -> Source:
    """Rows of the columns that are named, or of all that hold numbers in the first lines.

    Without a header, columns are called 0, 1, ...

    Raises:
        Refused: the file is missing or damaged, or lacks a column; or pyarrow is not installed.
    """
    import_for(spec.name, "pyarrow", "parquet")
    return opened_table(spec, _Csv, "CSV")


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


class _Csv(TableSource):
    def __init__(self, spec: Spec):
        import pyarrow as pa

        self.name, self._delimiter = spec.name, _DELIMITERS[_suffix(spec.path)]
        self._path = unpacked(spec.path, spec.name) if spec.path.suffix == ".gz" else spec.path
        lines = index_lines(self._path, spec.name)
        if not lines.rows[-1]:
            raise Refused(f"data={spec.name!r} is empty: give at least one row")
        self._has_quoted_ends = lines.has_quoted_ends
        cells = self._cells(lines.second)
        self._columns_of_file = [str(place) for place in range(len(cells))]
        self._blocks = [*zip(lines.offsets, lines.offsets[1:], lines.rows)]
        begin, end = (lines.second, lines.offsets[1]) if lines.second < lines.offsets[1] else (0, lines.second)
        below = self._parsed(begin, end, int(begin > 0)).schema.types  # one row alone is looked at itself
        self._headers = int(_is_header(cells, below))
        if self._headers:
            self._columns_of_file, self._blocks[0] = cells, (lines.second, lines.offsets[1], 1)
            if lines.second == lines.offsets[1]:  # the first block was the header alone
                del self._blocks[0]
                below = self._parsed(*self._blocks[0]).schema.types if self._blocks else below
        # what is missing in the first lines comes later, as a number if the very first is no text
        later = [pa.string() if _is_text(cell) and not self._headers else pa.float64() for cell in cells]
        self._types = [if_null if pa.types.is_null(kind) else kind for if_null, kind in zip(later, below)]
        if len(cells) == 1 and (other := re.search("[,;\t]", cells[0])) and pa.types.is_string(self._types[0]):
            raise Refused(f"data={spec.name!r} has but one column, {cells[0][:60]!r}: its values seem to be separated by "
                          f"{other[0]!r}, where {self._delimiter!r} is expected; write .csv with commas, .tsv with tabs")
        super().__init__(spec, pa.schema(list(zip(self._columns_of_file, self._types))), lines.rows[-1] - self._headers,
                         [row - self._headers for _, _, row in self._blocks], sorted({spec.path, self._path}))

    def number(self, index: int) -> str:
        return f"{index} (line {index + self._headers + 1})" if not self._has_quoted_ends else str(index)

    def _rows(self, block: int, columns: Sequence[str]):
        import pyarrow as pa

        labels = self._columns.get(LABELS, [])
        types = {name: pa.float64() if pa.types.is_integer(kind) and name not in labels else kind
                 for name, kind in zip(self._columns_of_file, self._types) if name in columns}
        return self._parsed(*self._blocks[block], types)

    def _cells(self, end: int) -> list[str]:
        """The first row's."""
        with open(self._path, "rb") as file:
            first = file.read(end).decode("utf-8-sig")
        return next(csv.reader(first.splitlines(keepends=True), delimiter=self._delimiter))

    def _parsed(self, begin: int, end: int, row: int, types: Mapping | None = None):
        """An Arrow table of the file's rows within these bytes: all columns, or those whose types are given.

        Args:
            row: the number of the first one in the file.
        """
        import pyarrow as pa
        import pyarrow.csv

        with open(self._path, "rb") as file:
            file.seek(begin)
            text = file.read(end - begin)
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(text),
                pyarrow.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=self._columns_of_file),
                # an empty line is a row of missing values: rows are counted by their ends
                pyarrow.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=self._has_quoted_ends,
                                         ignore_empty_lines=False),
                pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types or ())))
        except pa.ArrowInvalid as error:
            said = re.fullmatch(r"(?:CSV parse error: |In CSV column #(\d+): )?Row #(\d+): (.*)", str(error), re.DOTALL)
            if not said:
                raise
            column = f", column {self._columns_of_file[int(said[1])]!r}" if said[1] else ""
            place = f"{'row' if self._has_quoted_ends else 'line'} {row + int(said[2])}"
            raise Refused(f"data={self.name!r}, {place}{column}: {' '.join(said[3].split())[:200]}: mend or drop that line"
                          + (", or leave the column out" if column else "")) from None


def _is_header(cells: Sequence[str], below: Sequence) -> bool:
    """Whether a first row names columns: none of its cells is a number, or a text stands above numbers.

    Args:
        below: the Arrow types of the columns without it.
    """
    import pyarrow as pa

    are_texts = [_is_text(cell) for cell in cells]
    above_numbers = any(is_text and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
                        for is_text, kind in zip(are_texts, below))
    return above_numbers or any(are_texts) and not any(map(_is_number, cells))


def _is_text(cell: str) -> bool:
    return cell.strip().lower() not in _MISSING and not _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        return cell.strip().lower() not in _MISSING and float(cell) is not None
    except ValueError:
        return False
