"""`hvd-ae export`: a run's models for programs that know no Keras."""

import importlib
import importlib.util
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import input_of
from hvd_ae.runs.files import replacing
from hvd_ae.runs.opened import open_run
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import ExportSettings

_ENDINGS = {"onnx": ".onnx", "savedmodel": "", "npz": ".npz"}


def export(settings: ExportSettings) -> None:
    """Write one of a run's models in another format (the root writes; every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run or model, a library is missing, or there is no room.
    """
    _, model, comm = open_run(settings.run, settings.part)
    output = Path(settings.output or Path(settings.run) / f"{settings.part}{_ENDINGS[settings.format] or '.savedmodel'}")

    writers = {"onnx": _onnx, "savedmodel": _saved_model, "npz": _npz}

    def write() -> None:
        if output.exists():
            raise Refused(f"output={str(output)!r} is there already: remove it, or name another place")
        try:
            writers[settings.format](model, output)
        except OSError as error:
            raise Refused(f"output={str(output)!r} cannot be written ({error.strerror or error}): make room, or name another "
                          "place") from None

    run_on_all(comm, lambda: write() if comm.world.is_root else None)
    if comm.world.is_root:
        print(f"{settings.part} is in {output}, {model.count_params():,} parameters, as {settings.format}", flush=True)


def _npz(model: keras.Model, output: Path) -> None:
    """Each weight under its place and its path in the model, in Keras's order."""
    weights = {f"{number:03d} {weight.path}".replace("/", "."): np.asarray(weight)
               for number, weight in enumerate(model.weights)}
    if output.suffix != ".npz":  # NumPy would add it
        raise Refused(f"output={str(output)!r} must end with .npz for --format npz")
    with replacing(output) as partial:
        np.savez(partial, **weights)


def _saved_model(model: keras.Model, output: Path) -> None:
    try:
        model.export(output, format="tf_saved_model", verbose=False)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise


def _onnx(model: keras.Model, output: Path) -> None:
    missing = [name for name in ("onnx", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(f"format='onnx' needs {' and '.join(missing)}, not installed here: pip install onnx tf2onnx, or use "
                      "--format savedmodel")
    with replacing(output) as partial:
        try:
            # Keras takes a model that was loaded for one that was never called, and fixes the number of samples
            model.export(partial, format="onnx", verbose=False, input_signature=_signature(model))
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise Refused(f"format='onnx' cannot say what this model does ({said}): use --format savedmodel") from None
        _refuse_left_out_constants(partial, len(keras.tree.flatten(_signature(model))))


def _refuse_left_out_constants(path: Path, inputs: int) -> None:
    """tf2onnx 1.17 was seen to make inputs, without values, of the numbers that samples are normalized by."""
    graph = importlib.import_module("onnx").load(path).graph
    given = {each.name for each in graph.initializer}
    needed = [each.name for each in graph.input if each.name not in given]
    if len(needed) != inputs:
        raise Refused(f"format='onnx' lacks {', '.join(needed[inputs:])}, which tf2onnx leaves out of a model that "
                      "normalizes: use --format savedmodel")


def _signature(model: keras.Model) -> list:
    given = input_of(model)
    if given is None:  # a model that is a class
        return [tf.TensorSpec((None, *model.get_build_config()["input_shape"][1:]), tf.float32, "sample")]
    return [keras.tree.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype, each.name), given)]
