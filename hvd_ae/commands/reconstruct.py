"""`hvd-ae reconstruct`: what a run's model makes of any data."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.open import files_of
from hvd_ae.data.source import SAMPLES, Source
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.runs.files import replacing
from hvd_ae.runs.opened import open_run, outputs_of, samples_for, task_that_reconstructs
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import ReconstructSettings
from hvd_ae.settings.train import TrainSettings


def reconstruct(settings: ReconstructSettings) -> None:
    """Write the model's outputs for every sample, in the data's order, as float32 .npy (every rank calls it).

    All ranks work on one stretch of the samples at a time, so no rank ever holds all the outputs.

    Raises:
        Refused: on every rank, when there is no such run, its model gives no samples back, the data do not fit it, or
            `output` is a file of either.
        NotWritten: on the root, when there is no room; `output` is as it was.
    """
    of_run, model, comm = open_run(settings.run)
    run_on_all(comm, lambda: task_that_reconstructs(of_run))
    is_root, output = comm.world.is_root, settings.output
    run_on_all(comm, lambda: _refuse_writing_over_input(settings, of_run) if is_root else None)
    source = samples_for(model, settings.data, of_run, comm)
    with contextlib.ExitStack() as until_whole:
        file = run_on_all(comm, lambda: _begin(until_whole, output, source) if is_root else None)
        for gathered in _gathered_outputs(model, source, settings.batch_size, comm):
            if is_root:
                file.write(gathered.data)
    if is_root:
        print(f"{source.count:,} reconstructions of shape {source.fields[SAMPLES].shape} are in {output}", flush=True)


def _gathered_outputs(model: keras.Model, source: Source, batch_size: int, comm: Communicator) -> Iterator[np.ndarray]:
    """The outputs of all samples in their order, a stretch at a time, on every rank."""
    world = comm.world
    for first in range(0, source.count, batch_size * world.size):
        share = first + plan_evaluation(min(batch_size * world.size, source.count - first), world)
        mine = [outputs.ravel() for _, outputs in outputs_of(model, source, share, batch_size)]
        yield comm.all_gather(np.concatenate([*mine, np.zeros(0, np.float32)])).numpy()


def _refuse_writing_over_input(settings: ReconstructSettings, of_run: TrainSettings) -> None:
    """Whatever the spelling, and through links too: what is read, or was trained on, is no place for the outputs."""
    whats = {path: "which the run was trained on or judged by"
             for name in (of_run.data, of_run.validation_data or of_run.data) for path in files_of(name)}
    whats |= {path: "a file of the run" for path in Path(settings.run).rglob("*") if not _may_be_outputs(path, settings.run)}
    whats |= dict.fromkeys(files_of(settings.data), "which the samples are read from")
    output = settings.output
    for path, what in whats.items():
        if os.path.realpath(path) == os.path.realpath(output) or _is_same_file(path, output):
            raise Refused(f"output={output!r} is {path}, {what}: name another file")


def _may_be_outputs(path: Path, run: str) -> bool:
    """Of an earlier `reconstruct`: a run itself keeps such files in folders only."""
    return path.suffix == ".npy" and path.parent == Path(run)


def _is_same_file(first: Path, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:  # one of them is not there
        return False


def _begin(until_whole: contextlib.ExitStack, output: str, source: Source) -> BinaryIO:
    """The file for one float32 array a sample; it gets its name when the stack is left without an exception.

    Raises:
        Refused: there it cannot be written.
    """
    try:
        return until_whole.enter_context(_array_file(output, (source.count, *source.fields[SAMPLES].shape)))
    except NotWritten as failure:
        raise Refused(str(failure)) from None


@contextlib.contextmanager
def _array_file(output: str, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    with replacing(output) as partial, open(partial, "wb") as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        yield file
