"""`x.h5`: each field a contiguous data set, whose room the root allocates, so that every rank can write its rows there.

Such a file is read sample by sample, through a memory map. Its checksum and its statistics, attributes of the file, are put
in their places at the end, as bytes: HDF5 itself, killed meanwhile, could leave a file that it cannot open.
"""

import hashlib
import json
import os
from collections.abc import Mapping

import numpy as np

from hvd_ae.commands.convert.rows import read_rows, write_rows
from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.formats.hdf5_file import open_hdf5
from hvd_ae.data.source import SAMPLES

_NO_CHECKSUM_YET = hashlib.sha256(b"hvd_ae: here will be a checksum").hexdigest().encode()  # as long as one, and found again
_NO_STATISTICS_YET = hashlib.sha256(b"hvd_ae: here will be statistics").hexdigest().encode()
_BYTES_OF_A_FIELD = 256  # of its statistics as JSON: its name, and five numbers of at most 24 letters
_HEAD = 1 << 16  # bytes of an HDF5 file, within which attributes lie that are written first


class Hdf5Writer(Writer):
    """One HDF5 file."""

    def begin(self) -> None:
        import h5py

        self.path.unlink(missing_ok=True)
        with h5py.File(self.path, "w", libver=("earliest", "latest")) as file:
            # attributes have at most 64 KB, and names of classes a data set of their own
            if self.about is not None:
                file.attrs["checksum"] = np.bytes_(_NO_CHECKSUM_YET)
                file.attrs["statistics"] = np.bytes_(self._padded(_NO_STATISTICS_YET))
                file.attrs["about"] = json.dumps({name: value for name, value in self.about.items() if name != "names"})
            for field, declared in self.layout.fields.items():
                creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                creation.set_layout(h5py.h5d.CONTIGUOUS)
                creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                creation.set_obj_track_times(False)  # the same bytes whenever it is made
                space = h5py.h5s.create_simple((self.layout.count, *declared.shape))
                h5py.h5d.create(file.id, field.encode(), h5py.h5t.py_create(declared.dtype), space, creation)
            for field, names in self.layout.names.items():
                file[f"{field}_names"] = names
        if self.about is not None:
            self._place_of(_NO_CHECKSUM_YET)
            self._place_of(_NO_STATISTICS_YET)
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())

    def open(self) -> None:
        with open_hdf5(self.path) as file:
            self._offsets = {field: file[field].id.get_offset() for field in self.layout.fields}

    def write(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        for field, array in values.items():
            write_rows(self.path, self._place(field, first), array)

    def read(self, first: int, rows: int, field: str) -> np.ndarray:
        """What was written of a stretch, or of a part of it."""
        return read_rows(self.path, self._place(field, first), rows, self.layout.fields[field])

    def end(self, found: Mapping[str, object]) -> None:
        if self.about is None:
            return
        with open_hdf5(self.path) as file:
            is_missing = {word: bytes(file.attrs[name]).rstrip() == word
                          for name, word in (("checksum", _NO_CHECKSUM_YET), ("statistics", _NO_STATISTICS_YET))}
        for word, text in ((_NO_CHECKSUM_YET, found["checksum"].encode()),
                           (_NO_STATISTICS_YET, self._padded(json.dumps(found["statistics"]).encode()))):
            if is_missing[word]:
                write_rows(self.path, self._place_of(word), np.frombuffer(text, np.uint8))

    def how_to_read(self, destination: str) -> str:
        return f"--data {destination}:{SAMPLES}{self._beside({field: field for field in self.layout.fields})}"

    def _place(self, field: str, row: int) -> int:
        return self._offsets[field] + row * self.layout.fields[field].bytes_read

    def _padded(self, text: bytes) -> bytes:
        return text.ljust(_BYTES_OF_A_FIELD * len(self.layout.fields))

    def _place_of(self, word: bytes) -> int:
        with open(self.path, "rb") as file:
            place = file.read(_HEAD).find(word)
        assert place > 0, "HDF5 does not keep the attribute where it was looked for"
        return place
