"""`x.npy`, and beside it `x.labels.npy`, `x.targets.npy`, ..., and `x.convert.json` with the checksum."""

import json
from collections.abc import Mapping

import numpy as np

from hvd_ae.commands.convert.rows import write_rows
from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.runs.files import write_atomically


class NpyWriter(Writer):
    """Files that NumPy reads; ranks write their rows into them."""

    @property
    def names(self) -> list[str]:
        beside = [self._path(field).name for field in self.layout.fields if field != SAMPLES]
        return [*beside, self._note.name, self.path.name]

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
            path, after = self._path(field), (self.layout.count - first) * self.layout.fields[field].bytes_read
            write_rows(path, path.stat().st_size - after, array)

    def end(self, checksum: str) -> None:
        write_atomically(self._note, json.dumps({**self.about, "checksum": checksum}, indent=1) + "\n")

    def how_to_read(self, destination: str) -> str:
        stem = destination.removesuffix(".npy")
        found = {field: f"{stem}.{field}.npy" for field in self.layout.fields if field != LABELS}  # which it finds itself
        return f"--data {destination}{self._beside(found)}"

    def _path(self, field: str):
        return self.path if field == SAMPLES else self.path.with_suffix(f".{field}.npy")

    @property
    def _note(self):
        return self.path.with_suffix(".convert.json")
