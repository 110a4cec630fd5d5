"""`x.npy`, and beside it `x.labels.npy`, `x.targets.npy`, ..., and `x.convert.json` with the checksum."""

import json
from collections.abc import Mapping

import numpy as np

from hvd_ae.commands.convert.rows import read_rows, write_rows
from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.source import LABELS
from hvd_ae.runs.files import write_atomically


class NpyWriter(Writer):
    """Files that NumPy reads; ranks write their rows into them."""

    @property
    def names(self) -> list[str]:
        beside = [self._path(field).name for field in self.layout.fields if field != self.layout.main]
        return [*beside, *([] if self.about is None else [self._note.name]), self.path.name]

    @property
    def reserved(self) -> list[str]:
        return [self._path(LABELS).name, *self.names]  # labels that lie there would be read with these samples

    def begin(self) -> None:
        for field, declared in self.layout.fields.items():
            with open(self._path(field), "wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(declared.dtype), "fortran_order": False,
                          "shape": (self.layout.count, *declared.shape)}
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + self.layout.count * declared.bytes_read)

    def write(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        for field, array in values.items():
            write_rows(self._path(field), self._place(field, first), array)

    def read(self, first: int, rows: int, field: str) -> np.ndarray:
        """What was written of a stretch, or of a part of it."""
        return read_rows(self._path(field), self._place(field, first), rows, self.layout.fields[field])

    def end(self, found: Mapping[str, object]) -> None:
        if self.about is not None:
            write_atomically(self._note, json.dumps({**self.about, **found}, indent=1) + "\n")

    def how_to_read(self, destination: str) -> str:
        stem = destination.removesuffix(".npy")
        found = {field: f"{stem}.{field}.npy" for field in self.layout.fields if field != LABELS}  # which it finds itself
        return f"--data {destination}{self._beside(found)}"

    def _place(self, field: str, row: int) -> int:
        return self._path(field).stat().st_size - (self.layout.count - row) * self.layout.fields[field].bytes_read

    def _path(self, field: str):
        return self.path if field == self.layout.main else self.path.with_suffix(f".{field}.npy")

    @property
    def _note(self):
        return self.path.with_suffix(".convert.json")
