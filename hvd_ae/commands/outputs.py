"""What a run's model makes of samples, written by all ranks: each puts its own rows in their place, and none holds them all.

It is written beside its destination and gets its name when it is whole; a start after one that was killed goes on there.
"""

import hashlib
import importlib
import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.convert.partial import Partial, folder_of
from hvd_ae.commands.convert.writer import Writer
from hvd_ae.commands.passing import Passing
from hvd_ae.data.load import fingerprint
from hvd_ae.data.open import files_of
from hvd_ae.data.source import SAMPLES, Field, Splits
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.inference.blocks import Blocks, Function, Unit
from hvd_ae.runs.opened import allowed_in, beside_of, condition_of, samples_for
from hvd_ae.runtime.consensus import broadcast_text, run_on_all
from hvd_ae.settings.commands import EncodeSettings
from hvd_ae.settings.train import TrainSettings

# By the ending of the destination: the module of `convert` and its class.
_WRITERS = {".npy": ("npy", "NpyWriter"), ".h5": ("hdf5", "Hdf5Writer"), ".hdf5": ("hdf5", "Hdf5Writer"),
            ".parquet": ("parquet", "ParquetWriter")}
_BYTES_A_CHUNK = 1 << 20


class OutputLayout:
    """One result a sample, as `hvd_ae.commands.convert.layout.Layout` says it of samples.

    Args:
        name: of the result, which HDF5 and Parquet know it by.
        rows: samples of a stretch that one rank writes at a time.
    """

    names: dict[str, list[str]] = {}

    def __init__(self, name: str, field: Field, count: int, rows: int):
        self.main, self.fields, self.count, self._rows = name, {name: field}, count, rows
        self.bytes_each = field.bytes_read
        self.rows_a_chunk = max(1, _BYTES_A_CHUNK // field.bytes_read)

    def rows_of(self, pieces: int) -> int:
        return self._rows


def write_of_samples(settings: EncodeSettings, of_run: TrainSettings, model: keras.Model, function: Callable[..., Function],
                     name: str, comm: Communicator) -> Blocks:
    """Write what one of a run's models makes of the samples that settings name (every rank calls it).

    Args:
        function: one of `hvd_ae.inference.functions`, whose result has this name.

    Raises:
        Refused: on every rank, where the data do not fit the model, or the output cannot be written there.
        NotWritten: on every rank, where there is no more room.
    """
    refuse_writing_over_input(settings.output, settings.data, settings.run, of_run, comm)
    source = samples_for(model, settings.data, of_run, comm, settings.columns, beside_of(settings))
    condition = condition_of(model, of_run)
    fields = [SAMPLES] if condition is None else [SAMPLES, condition]
    blocks = Blocks(function(model, source.fields, condition), source, fields, comm, {SAMPLES: allowed_in(of_run)},
                    settings.batch_size)
    about = {"data": settings.data, "condition": settings.condition}
    write_outputs(blocks, name, settings.output, settings.run, about, comm)
    return blocks


def write_outputs(blocks: Blocks, name: str, output: str, run: str, about: dict, comm: Communicator,
                  keep: Callable[[Unit], None] | None = None) -> None:
    """Write the result of this name of all samples (every rank calls it).

    Args:
        output: a .npy, .h5 or .hdf5, or .parquet, which becomes a folder of part files.
        run: the run folder, whose model made them.
        about: what else a start that goes on must have the same of; plain values.
        keep: called with each unit of this rank's, those that an earlier start has written among them.

    Raises:
        Refused: on every rank, where samples cannot be read, or the output cannot be written there.
        NotWritten: on every rank, where there is no more room; what is written stays, for a later start.
    """
    field, source = Field(blocks.shapes[name], blocks.dtypes[name]), blocks.source
    layout, destination = OutputLayout(name, field, source.count, blocks.unit), Path(output)
    with ExitStack() as until_done:
        module, writes = run_on_all(comm, lambda: _writer_of(output))
        writer: Writer = getattr(importlib.import_module(f"hvd_ae.commands.convert.{module}"), writes)(
            folder_of(destination), destination.name, layout, None)
        identity = {"result": name, "samples": source.count, "shape": list(field.shape), "block": blocks.size,
                    "unit": blocks.unit, "model": digest_of_models(Path(run)) if comm.world.is_root else "", **about,
                    "fingerprint of the data": run_on_all(comm, lambda: fingerprint(Splits(source, source))).tolist()}
        partial = run_on_all(comm, lambda: Partial(destination, writer, identity, source.count * field.bytes_read, None,
                                                   replaces=True) if comm.world.is_root else None)
        if partial is not None:
            until_done.callback(partial.release)
        done = _done(partial, comm)
        run_on_all(comm, writer.open)
        if keep is not None:
            _keep_what_is_written(blocks, name, writer, done, keep, comm)

        def take(unit: Unit) -> None:
            try:
                writer.write(unit.first, {name: unit.outputs[name]})
            except OSError as error:
                raise NotWritten(f"{output} cannot be written ({error.strerror or error}): make room, and start again, which "
                                 "goes on from here") from None
            if keep is not None:
                keep(unit)

        def samples_of(units: list[int]) -> int:
            return sum(end - first for first, end in map(blocks.range_of, units))

        passing = Passing(source.count, samples_of(done)) if comm.world.is_root else None

        def note(units: list[int]) -> None:
            lines = [[str(unit)] for unit in units]
            run_on_all(comm, lambda: None if partial is None else partial.note(lines), NotWritten)
            if passing is not None:
                passing.add(samples_of(units))

        if passing is not None:
            until_done.callback(passing.close)

        blocks.each(take, done, note)
        run_on_all(comm, lambda: None if partial is None else _finish(writer, partial), NotWritten)


def refuse_writing_over_input(output: str, data: str | None, run: str, of_run: TrainSettings, comm: Communicator,
                              ours: tuple[str, ...] = ()) -> None:
    """Whatever the spelling, and through links too: what is read, or was trained on, is no place for results.

    Args:
        ours: names in the run folder that earlier results of the same kind have.

    Raises:
        Refused: on every rank (every rank calls it).
    """

    def check() -> None:
        whats = {path: "which the run was trained on or judged by"
                 for name in (of_run.data, of_run.validation_data or of_run.data) for path in files_of(name)}
        whats |= {path: "a file of the run" for path in Path(run).rglob("*") if not _may_be_outputs(path, run, ours)}
        whats |= dict.fromkeys([] if data is None else files_of(data), "which the samples are read from")
        for path, what in whats.items():
            if os.path.realpath(path) == os.path.realpath(output) or _is_same_file(path, output):
                raise Refused(f"output={output!r} is {path}, {what}: name another file")

    run_on_all(comm, lambda: check() if comm.world.is_root else None)


def _may_be_outputs(path: Path, run: str, ours: tuple[str, ...]) -> bool:
    """Of an earlier command: a run itself keeps such files in folders only."""
    within = path.relative_to(run).parts
    return (len(within) == 1 and path.suffix in (".npy", ".h5", ".hdf5", ".parquet") or within[0].endswith(".parquet")
            or within[0].endswith(".partial") or within[0] in ours)


def _is_same_file(first: Path, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # one of them is not there
        return False


def _writer_of(output: str) -> tuple[str, str]:
    suffix = Path(output).suffix
    if suffix not in _WRITERS:
        raise Refused(f"output={output!r} cannot be written: name a .npy, .h5 or .parquet")
    if os.path.isdir(output) != (suffix == ".parquet") and os.path.exists(output):
        raise Refused(f"output={output!r} is there already, and is {'a folder' if os.path.isdir(output) else 'a file'}: name "
                      "another")
    if suffix == ".parquet":
        try:
            importlib.import_module("pyarrow")
        except ImportError:
            raise Refused(f"output={output!r} is written by pyarrow, which is not installed: pip install 'hvd_ae[parquet]'"
                          ) from None
    return _WRITERS[suffix]


def digest_of_models(run: Path) -> str:
    """SHA-256 of a run's models, by which results of other ones are told apart."""
    digest = hashlib.sha256()
    for path in sorted(run.glob("*.keras")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _done(partial: Partial | None, comm: Communicator) -> list[int]:
    """Units that are written already, on every rank."""
    mine = [] if partial is None else [int(number) for line in partial.noted for number in line]
    count = int(broadcast_text(comm, str(len(mine))))
    return comm.broadcast(np.array(mine, np.int64) if comm.world.is_root else np.zeros(count, np.int64)).numpy().tolist()


def _keep_what_is_written(blocks: Blocks, name: str, writer: Writer, done: list[int], keep: Callable[[Unit], None],
                          comm: Communicator) -> None:
    share = blocks.shares(np.array(sorted(done), np.int64))[comm.world.rank] if done else []

    def read() -> None:
        for number in share:
            first, end = blocks.range_of(int(number))
            keep(Unit(int(number), first, end, {name: writer.read(first, end - first, name)}))

    run_on_all(comm, read)


def _finish(writer: Writer, partial: Partial) -> None:
    try:
        writer.end({})
        partial.finish()
    except OSError as error:
        raise NotWritten(f"{partial.destination} cannot be written ({error.strerror or error}): make room, and start "
                         "again") from None


def shape_as_text(shape: tuple[int, ...]) -> str:
    return f"{math.prod(shape):,} number{'s' * (math.prod(shape) != 1)} each" if len(shape) < 2 else f"shape {shape}"
