"""A folder of Parquet files, `x/part-00000.parquet`, ...: a stretch each, a column a field, row groups of about 1 MB, zstd."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.source import SAMPLES
from hvd_ae.runs.files import write_atomically


class ParquetWriter(Writer):
    """A folder of files, each of which is written by one rank."""

    pieces = 4
    is_compressed = True

    def begin(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()

    def write(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        table, path = pa.table({field: _column(array) for field, array in values.items()}), self._part(first)
        with open(path.with_suffix(".partial"), "wb") as file:
            pyarrow.parquet.write_table(table, file, row_group_size=self.layout.rows_a_chunk, compression="zstd",
                                        write_page_checksum=True, use_dictionary=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".partial"), path)

    def read(self, first: int, rows: int, field: str) -> np.ndarray:
        """What was written of a stretch, or of a part of it."""
        import pyarrow.parquet

        column = pyarrow.parquet.read_table(self._part(first), columns=[field]).column(field).combine_chunks()
        if hasattr(column, "chunks"):  # of tensors, even where there is one part
            column = column.chunk(0)
        values = column.to_numpy_ndarray() if hasattr(column, "to_numpy_ndarray") else column.to_numpy()
        begin = first % self.rows
        return values[begin : begin + rows]

    def end(self, found: Mapping[str, object]) -> None:
        for left_over in self.path.glob("*.partial"):
            left_over.unlink()
        if self.about is not None:
            write_atomically(self.path / "convert.json", json.dumps({**self.about, **found}, indent=1) + "\n")

    def _part(self, row: int) -> Path:
        digits = max(5, len(str(self.layout.count // self.rows)))
        return self.path / f"part-{row // self.rows:0{digits}d}.parquet"

    def how_to_read(self, destination: str) -> str:
        return f"--data {destination}:{SAMPLES}{self._beside({field: field for field in self.layout.fields})}"


def _column(array: np.ndarray):
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))
