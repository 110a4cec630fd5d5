"""`hvd-ae convert`: all ranks read the samples once, and each writes its stretches of them in their place."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.commands.convert.gain import bytes_on_disk, gained
from hvd_ae.commands.convert.layout import Layout, plan_stretches
from hvd_ae.commands.convert.partial import Partial, folder_of
from hvd_ae.commands.convert.pieces import checksum, statistics
from hvd_ae.commands.convert.reading import InOrder, Shuffled
from hvd_ae.commands.convert.writer import Writer
from hvd_ae.data.load import fingerprint
from hvd_ae.data.open import files_of
from hvd_ae.data.source import SAMPLES, Source, Splits
from hvd_ae.errors import NotWritten, Refused, ranks_are_together
from hvd_ae.runtime.consensus import broadcast_text, gather_texts, run_on_all
from hvd_ae.settings.commands import ConvertSettings
from hvd_ae.training.samples import samples_on_all

# By the ending of the destination: the module and class that write it, and the library that it needs, with its extra.
WRITERS = {".npy": ("npy", "NpyWriter", None), ".h5": ("hdf5", "Hdf5Writer", None), ".hdf5": ("hdf5", "Hdf5Writer", None),
           ".zarr": ("zarr", "ZarrWriter", ("tensorstore", "zarr")), "": ("parquet", "ParquetWriter", ("pyarrow", "parquet"))}


def convert(settings: ConvertSettings) -> None:
    """Write the samples anew (every rank calls it); a start after one that was killed goes on where that was.

    Raises:
        Refused: on every rank: no such data, no such format, the destination is there, too little room, or it was begun with
            something else.
        NotWritten: on every rank, where there is no more room; what is written stays, for a later start.
    """
    comm, destination = start(settings.collectives), Path(settings.destination)
    writes = run_on_all(comm, lambda: _writer_class(settings))
    source = samples_on_all(settings.source, settings, comm, settings.seed)
    layout = Layout(source)
    samples = Shuffled(source, settings.seed, settings.shuffle_memory, comm) if settings.shuffle else \
        InOrder(source, writes.pieces * layout.rows_a_piece, comm)
    bytes_before = run_on_all(comm, lambda: _bytes_before(settings.source) if comm.world.is_root else 0)
    with contextlib.ExitStack() as until_done:
        until_done.enter_context(_closed_together(samples))
        order = f"shuffled by seed {settings.seed}" if settings.shuffle else "in order"
        about = {"count": source.count, "order": order, "window": samples.window, "rows_a_piece": layout.rows_a_piece,
                 "made_from": settings.source, "names": layout.names}
        writer = writes(folder_of(destination), destination.name, layout, about)
        needed = source.count * layout.bytes_each
        identity = {"order": order, "shuffle_memory": settings.shuffle_memory, "data": settings.source, "rows": settings.rows,
                    "layout of blocks": samples.layout, "columns": settings.columns, "bytes of data": bytes_before,
                    "samples": source.count,
                    "fields": {name: [list(field.shape), field.dtype.name] for name, field in layout.fields.items()},
                    "fingerprint of the data": fingerprint(Splits(source, source)).tolist()}
        partial = run_on_all(comm, lambda: Partial(
            destination, writer, identity, min(needed, bytes_before or needed) if writer.is_compressed else needed,
            samples.window) if comm.world.is_root else None)
        if partial is not None:
            until_done.callback(partial.release)
        _write_all(samples, writer, partial, comm)
        run_on_all(comm, lambda: _finish(writer, partial) if partial is not None else None, NotWritten)
    if comm.world.is_root:
        with comm.busy("measuring what was gained"):
            _say(settings, writer, source, bytes_before, partial.pieces)
    comm.barrier()  # the ranks end together


def _writer_class(settings: ConvertSettings) -> type[Writer]:
    suffix, destination = Path(settings.destination).suffix, settings.destination
    if suffix not in WRITERS:
        raise Refused(f"{destination!r} cannot be written: name a .npy, .h5 or .zarr, or, without an ending, a folder of "
                      "Parquet files")
    if settings.shuffle_memory is not None and not settings.shuffle:
        raise Refused(f"shuffle_memory={settings.shuffle_memory} has no effect without --shuffle: drop it")
    module, name, library = WRITERS[suffix]
    if library is not None:
        try:
            importlib.import_module(library[0])
        except ImportError:
            raise Refused(f"{destination!r} is written by {library[0]}, which is not installed: pip install "
                          f"'hvd_ae[{library[1]}]'") from None
    return getattr(importlib.import_module(f"hvd_ae.commands.convert.{module}"), name)


@contextlib.contextmanager
def _closed_together(samples: InOrder | Shuffled) -> Iterator[None]:
    """Give back what readers took, unless this rank leaves alone."""
    try:
        yield
    except BaseException as error:
        if ranks_are_together(error):
            samples.close()
        raise
    samples.close()


def _bytes_before(data: str) -> int:
    return bytes_on_disk(path for path in files_of(data) if path.exists())


def _write_all(samples: InOrder | Shuffled, writer: Writer, partial: Partial | None, comm: Communicator) -> None:
    """Stretch by stretch, one of each rank at a time; a stretch is noted when it is on the disk of whoever wrote it."""
    done, window = _where_it_stands(partial, comm)
    if isinstance(samples, Shuffled):
        samples.go_on_with(window)
        writer.about["window"] = window
    run_on_all(comm, writer.open)
    plan = plan_stretches(samples.order, writer.rows, done, comm.world)
    if len(plan.batch_sizes):
        with comm.busy("reading the data"):
            samples.reader.prepare()
    for step in range(len(plan.batch_sizes)):
        read, _ = samples.reader.read(plan, step, step + 1)
        values, first = writer.layout.as_written(read), (done + step * comm.world.size + comm.world.rank) * writer.rows
        notes = writer.layout.notes(values)
        # in the last step there may be none for this rank
        run_on_all(comm, lambda first=first, values=values: _written(writer, first, values) if len(values[SAMPLES]) else None,
                   NotWritten)
        texts = gather_texts(comm, " ".join(notes))
        noted = [text.split() for text in texts if text]
        run_on_all(comm, lambda noted=noted: None if partial is None else partial.note(noted), NotWritten)


def _where_it_stands(partial: Partial | None, comm: Communicator) -> tuple[int, int | None]:
    """How many stretches are written already, and the window of their order."""
    mine = "" if partial is None else f"{len(partial.noted)} {-1 if partial.window is None else partial.window}"
    done, window = map(int, broadcast_text(comm, mine).split())
    return done, None if window < 0 else window


def _written(writer: Writer, first: int, values: dict[str, np.ndarray]) -> None:
    try:
        writer.write(first, values)
    except OSError as error:
        raise NotWritten(f"{writer.path} cannot be written ({error.strerror or error}): make room, and start again, which "
                         "goes on from here") from None


def _finish(writer: Writer, partial: Partial) -> None:
    try:
        writer.end({"checksum": checksum(partial.pieces),
                    "statistics": statistics(partial.pieces, list(writer.layout.fields))})
        partial.finish()
    except OSError as error:
        raise NotWritten(f"{partial.destination} cannot be written ({error.strerror or error}): make room, and start "
                         "again") from None


def _say(settings: ConvertSettings, writer: Writer, source: Source, bytes_before: int, pieces: list[str]) -> None:
    destination = str(Path(settings.destination))
    how = writer.how_to_read(destination)
    print(f"{source.count:,} samples are in {destination}, {writer.about['order']}; read them with {how}\n"
          f"sha256 of the values: {checksum(pieces)}", flush=True)
    for name, said in statistics(pieces, list(writer.layout.fields)).items():
        if said["count"]:
            print(f"{name}: {said['count']:,} numbers from {said['min']:.6g} to {said['max']:.6g}, mean {said['mean']:.6g}, "
                  f"standard deviation {said['std']:.6g}", flush=True)
    made = [Path(destination).with_name(name) for name in writer.names]
    print(gained(source, bytes_before, how.split()[1], made), flush=True)
