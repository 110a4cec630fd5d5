"""`--track csv`: `metrics.csv`, which any spreadsheet opens."""

import csv
import io
from collections.abc import Sequence

from hvd_ae.runs.files import append_line, write_atomically
from hvd_ae.runs.tracking.tracker import Tracker


class CsvFile(Tracker):
    """A line an epoch, a column a number; an empty cell is what was not measured."""

    tool = "csv"

    def begin(self, settings: dict, records: Sequence[dict]) -> None:
        self._path, self._columns, self._rows = self.folder.path / "metrics.csv", [], []
        for record in records:
            self._note(record)
        self._rewrite()

    def add(self, record: dict) -> None:
        known = len(self._columns)
        row = self._note(record)
        if len(self._columns) > known:  # the first, or one with a number that no epoch before had
            self._rewrite()
        else:
            append_line(self._path, _line([row.get(name) for name in self._columns]))

    def finish(self, summary: dict | None) -> None:
        pass

    def _note(self, record: dict) -> dict:
        row = {name: value for name, value in record.items() if not isinstance(value, (dict, list))}
        self._columns += [name for name in row if name not in self._columns]
        self._rows.append(row)
        return row

    def _rewrite(self) -> None:
        lines = [self._columns, *([row.get(name) for name in self._columns] for row in self._rows)]
        if self._columns:
            write_atomically(self._path, "".join(f"{_line(cells)}\n" for cells in lines))


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
