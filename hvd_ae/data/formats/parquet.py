"""`.parquet` and `.feather` (an Arrow file), read by pyarrow: a row group or a record batch at a time."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from hvd_ae.data.formats.columns import TableSource, join_parts
from hvd_ae.data.formats.optional import import_for
from hvd_ae.data.source import Source
from hvd_ae.data.spec import Spec
from hvd_ae.errors import Refused

HAS_COLUMNS = True
_FEATHER = ".feather"
# Seen of pyarrow on damaged files: its exceptions are kinds of these.
_DAMAGED = (OSError, ValueError, KeyError, IndexError, NotImplementedError, OverflowError, struct.error)


def reads(path: Path) -> bool:
    return path.suffix in (".parquet", _FEATHER)


def read(spec: Spec) -> Source:
    """Rows of the columns that are named, or of all that hold numbers.

    Raises:
        Refused: the file is missing or damaged, or lacks a column; or pyarrow is not installed.
    """
    import_for(spec.name, "pyarrow", "parquet")
    is_feather = spec.path.suffix == _FEATHER
    return opened_table(spec, _ArrowFile if is_feather else _Parquet, "Arrow" if is_feather else "Parquet")


def opened_table(spec: Spec, source: Callable[[Spec], Source], kind: str) -> Source:
    """A table, or one sentence on why it cannot be read."""
    try:
        with open(spec.path, "rb"):
            pass  # for the system's own words: pyarrow's differ with each call
        return source(spec)
    except Refused:  # which is a ValueError too
        raise
    except _DAMAGED as error:
        if getattr(error, "strerror", None):
            raise Refused(f"data={spec.name!r} cannot be read ({error.strerror}): check the path") from None
        raise Refused(f"data={spec.name!r} is no whole {kind} file ({type(error).__name__}: "
                      f"{' '.join(str(error).split())[:200]}): copy or write it anew") from None


class _Parquet(TableSource):
    def __init__(self, spec: Spec):
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(spec.path, page_checksum_verification=True)
        groups = [self._file.metadata.row_group(group) for group in range(self._file.metadata.num_row_groups)]
        rows = [group.num_rows for group in groups]
        if min(rows, default=0) < 0 or sum(rows) != self._file.metadata.num_rows:
            raise ValueError(f"{self._file.metadata.num_rows} rows in groups of {rows[:9]}")
        starts, self._groups = join_parts(rows, [group.total_byte_size for group in groups])
        super().__init__(spec, self._file.schema_arrow, sum(rows), starts, [spec.path])

    def _rows(self, block: int, columns: Sequence[str]):
        return self._file.read_row_groups(list(self._groups[block]), columns, use_threads=False)


class _ArrowFile(TableSource):
    def __init__(self, spec: Spec):
        import pyarrow as pa

        with pa.memory_map(str(spec.path)) as whole:  # so that looking at batches' heads reads no more than those
            schema = self._schema = pa.ipc.open_file(whole).schema
            rows, sizes = _batches(whole)
        starts, self._batches = join_parts(rows, sizes)
        self._path = str(spec.path)
        super().__init__(spec, schema, sum(rows), starts, [spec.path])

    def _rows(self, block: int, columns: Sequence[str]):
        import pyarrow as pa

        with pa.OSFile(self._path) as file:  # a memory map would end the process, were the file cut short meanwhile
            chosen = [self._schema.get_field_index(name) for name in columns]
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(use_threads=False, included_fields=chosen))
            batches = [reader.get_batch(number) for number in self._batches[block]]
        for batch in batches:
            batch.validate(full=True)  # else damaged offsets end the process
        return pa.Table.from_batches(batches)


def _batches(file) -> tuple[list[int], list[int]]:
    """Rows and bytes of each record batch of an Arrow file. pyarrow tells them only by decoding the batch."""
    import pyarrow as pa

    file.seek(8)  # the magic bytes; then the file is a stream
    rows, sizes = [], []
    for message in pa.ipc.MessageReader.open_stream(file):
        if message.type == "record batch":
            rows.append(_length(message.metadata.to_pybytes()))
            sizes.append(message.body.size)
    return rows, sizes


def _length(message: bytes) -> int:
    """The rows of a record batch: `length`, the first field of `header`, the third of `Message` (Arrow's Message.fbs)."""

    def field(table: int, number: int) -> int | None:
        """Where a flatbuffer's table holds this field; None where it is left out, being 0."""
        directory = table - struct.unpack_from("<i", message, table)[0]
        size, at = struct.unpack_from("<H", message, directory)[0], 4 + 2 * number
        place = struct.unpack_from("<H", message, directory + at)[0] if at < size else 0
        return table + place if place else None

    header = field(struct.unpack_from("<I", message)[0], 2)
    place = field(header + struct.unpack_from("<I", message, header)[0], 0)
    length = 0 if place is None else struct.unpack_from("<q", message, place)[0]
    if not 0 <= length < 1 << 48:
        raise ValueError(f"a record batch of {length} rows")
    return length
