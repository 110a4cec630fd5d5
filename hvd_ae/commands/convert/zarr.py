"""`x.zarr`: Zarr 3, each field an array in zstd chunks, those of samples about 1 MB; no chunk is written by two ranks."""

import json
import os
import shutil
from collections.abc import Mapping

import numpy as np

from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import NotWritten
from hvd_ae.runs.files import write_atomically

_LEVEL = 3


class ZarrWriter(Writer):
    """One Zarr store, written by TensorStore."""

    is_compressed = True

    def begin(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        for field, declared in self.layout.fields.items():
            rows = self.layout.rows_a_chunk if field == SAMPLES else self.layout.rows_a_piece
            self._opened(field, {
                "shape": [self.layout.count, *declared.shape], "data_type": declared.dtype.name, "fill_value": 0,
                "chunk_grid": {"name": "regular",
                               "configuration": {"chunk_shape": [min(rows, self.layout.count), *declared.shape]}},
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                           {"name": "zstd", "configuration": {"level": _LEVEL}}]}).result()

    def open(self) -> None:
        self._arrays = {field: self._opened(field).result() for field in self.layout.fields}

    def write(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        under_way = [self._arrays[field][first : first + len(array)].write(array) for field, array in values.items()]
        try:
            for writing in under_way:
                writing.result()
        except ValueError as error:  # TensorStore's own for whatever it cannot do; it has synced what it has written
            raise NotWritten(f"{self.path} cannot be written ({' '.join(str(error).split())[:200]}): make room, or see to the "
                             "file system, and start again") from None

    def end(self, found: Mapping[str, object]) -> None:
        attributes = {**self.about, **found}
        write_atomically(self.path / "zarr.json", json.dumps(
            {"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1) + "\n")

    def how_to_read(self, destination: str) -> str:
        return f"--data {destination}:{SAMPLES}{self._beside({field: field for field in self.layout.fields})}"

    def _opened(self, field: str, metadata: Mapping[str, object] | None = None):
        """An array to write into, made where there are metadata for it."""
        import tensorstore

        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{os.path.abspath(self.path / field)}/"},
                "store_data_equal_to_fill_value": True}  # an absent chunk may hold zeros, or be lost
        return tensorstore.open(spec, open=True, write=True) if metadata is None else \
            tensorstore.open({**spec, "metadata": metadata}, create=True, write=True)
