"""Using a finished run's model on ranks: its losses on any data, and its reconstructions."""

import contextlib
import json
import os
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.samples import Samples, check_rows
from hvd_ae.data.sources import files_of, load_all
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.models.build import find_function
from hvd_ae.models.losses import LOSSES
from hvd_ae.runs.files import replacing
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.outcome import scaled
from hvd_ae.runtime.consensus import refused_on_all, run_on_all
from hvd_ae.training.session import load_on_all

# what Keras, zipfile and h5py raise of a file that is damaged
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile)


def evaluate_run(run: str, data: str | None, batch_size: int) -> dict[str, float]:
    """Mean losses of a run's model over all samples, printed by the root as JSON (every rank calls it).

    Args:
        run: the run folder.
        data: a path, all of whose samples count, or a name, whose validation samples do; None takes the run's own.

    Raises:
        Refused: on every rank, when there is no such run, or the data do not fit its model.
    """
    settings, model, comm = open_run(run)
    samples = _samples(settings, data, model, comm)
    share = plan_evaluation(samples.count, comm.world)
    sums = np.zeros(2)
    for inputs, outputs in _outputs(model, samples, share, batch_size):
        loss, mse = (float(np.sum(LOSSES[name](inputs, outputs))) for name in (settings.loss, "mse"))
        penalty = sum(float(each) for each in model.losses)  # of its layers, in the call before
        sums += [loss + penalty * len(inputs), mse]
    loss, mse = (comm.sum(sums).numpy() / samples.count).tolist()
    figures = {"val_loss": loss, "val_mse": mse, "samples": samples.count, "ranks": comm.world.size}
    if comm.world.is_root:
        print(json.dumps(figures), flush=True)
    return figures


def reconstruct_run(run: str, data: str, output: str, batch_size: int) -> None:
    """Write the model's outputs for every sample, in the data's order, as float32 .npy (every rank calls it).

    All ranks work on one stretch of the rows at a time, so no rank ever holds all the outputs.

    Raises:
        Refused: on every rank, when there is no such run, the data do not fit its model, or `output` is a file of either.
        NotWritten: on the root, when there is no room; `output` is as it was.
    """
    settings, model, comm = open_run(run)
    is_root = comm.world.is_root
    run_on_all(comm, lambda: _refuse_writing_over_input(run, settings, data, output) if is_root else None)
    samples = _samples(settings, data, model, comm)
    with contextlib.ExitStack() as until_whole:
        file = run_on_all(comm, lambda: _begin(until_whole, output, samples) if is_root else None)
        for gathered in _gathered_outputs(model, samples, batch_size, comm):
            if is_root:
                file.write(gathered.data)
    if is_root:
        print(f"{samples.count:,} reconstructions of shape {samples.sample_shape} are in {output}", flush=True)


def _gathered_outputs(model: keras.Model, samples: Samples, batch_size: int, comm: Communicator) -> Iterator[np.ndarray]:
    """The outputs of all samples in their order, a stretch at a time, on every rank."""
    world = comm.world
    for first in range(0, samples.count, batch_size * world.size):
        share = first + plan_evaluation(min(batch_size * world.size, samples.count - first), world)
        mine = [outputs.ravel() for _, outputs in _outputs(model, samples, share, batch_size)]
        yield comm.all_gather(np.concatenate([*mine, np.zeros(0, np.float32)])).numpy()


def open_run(run: str, part: str = "model") -> tuple[TrainSettings, keras.Model, Communicator]:
    """The settings of a run folder, and its `model` or its `encoder`, on every rank.

    Raises:
        Refused: on every rank, when there is no such run, or what is asked for is not in it or cannot be loaded.
    """
    settings = _read_settings(RunFolder(run))
    comm = start(settings.collectives if settings.collectives != "single" else None, settings.threads)

    def load_model() -> keras.Model:
        if ":" in settings.model:
            find_function(settings.model)  # registers the user's own layers
        path = RunFolder(run).path / f"{part}.keras"
        if part == "encoder" and not path.exists() and path.with_name("model.keras").exists():
            raise Refused(f"{run} has no encoder.keras, since no layers lead from its model's input to a code: train a model "
                          "made of layers, such as a keras.Sequential")
        try:
            return keras.saving.load_model(path, compile=False)
        except _DAMAGED as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise Refused(f"{path} cannot be loaded ({why}): did the run end, and is the file as it was written?") from None
        except TypeError as error:
            why = str(error).split(". ")[0].strip().splitlines()[-1]
            raise Refused(f"{path} cannot be loaded ({why}): a class of your own needs the decorator "
                          "keras.saving.register_keras_serializable() and an __init__ that passes **kwargs on; give it "
                          "these and train again") from None

    return settings, run_on_all(comm, load_model), comm


def _read_settings(folder: RunFolder) -> TrainSettings:
    try:
        table = tomllib.loads(folder.config.read_text(encoding="utf-8"))
        settings = TrainSettings(**table)
        if settings.loss not in LOSSES:
            raise ValueError(f"loss={settings.loss!r} is not known")
        return settings
    except OSError:
        raise Refused(f"{folder.path} holds no config.toml: give the folder of a run, such as `hvd-ae train` names at its "
                      "end") from None
    except (TypeError, ValueError) as error:  # a name that is none of ours, or no TOML, or no text
        raise Refused(f"{folder.config} cannot be read ({error}): was it changed, or written by another version?") from None


def _samples(settings: TrainSettings, data: str | None, model: keras.Model, comm: Communicator) -> Samples:
    if data is None:
        samples = load_on_all(settings, comm).validation
    else:
        is_first_on_node = comm.world.local_rank == 0
        run_on_all(comm, lambda: ensure_downloaded(data) if is_first_on_node else None)
        samples = run_on_all(comm, lambda: load_all(data))
    # a model that is a class knows the shape it was built for only
    expected = tuple(getattr(model, "input_shape", None) or model.get_build_config()["input_shape"])[1:]
    if samples.sample_shape != expected:
        raise refused_on_all(f"data={samples.name!r} has samples of shape {samples.sample_shape}, but the model takes "
                             f"{expected}: give data of that shape")
    share = plan_evaluation(samples.count, comm.world)
    run_on_all(comm, lambda: check_rows(samples, share))
    return samples


def _outputs(model: keras.Model, samples: Samples, share: np.ndarray, batch_size: int):
    """Inputs and outputs of the model, batch by batch."""
    for first in range(0, len(share), batch_size):
        inputs = scaled(samples, share[first : first + batch_size])
        yield inputs, np.asarray(model(inputs, training=False), np.float32)


def _refuse_writing_over_input(run: str, settings: TrainSettings, data: str, output: str) -> None:
    """Whatever the spelling, and through links too: what is read, or was trained on, is no place for the outputs."""
    whats = {path: "which the run was trained on or judged by"
             for name in (settings.data, settings.validation_data or settings.data) for path in files_of(name)}
    whats |= {path: "a file of the run" for path in RunFolder(run).path.rglob("*") if not _may_be_outputs(path, run)}
    whats |= dict.fromkeys(files_of(data), "which the samples are read from")
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


def _begin(until_whole: contextlib.ExitStack, output: str, samples: Samples) -> BinaryIO:
    """The file for one float32 row a sample; it gets its name when the stack is left without an exception.

    Raises:
        Refused: there it cannot be written.
    """
    try:
        return until_whole.enter_context(_array_file(output, (samples.count, *samples.sample_shape)))
    except NotWritten as failure:
        raise Refused(str(failure)) from None


@contextlib.contextmanager
def _array_file(output: str, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    with replacing(output) as partial, open(partial, "wb") as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        yield file
