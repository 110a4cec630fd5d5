"""From a name to a Keras model: a built-in one, or the user's own by import path."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

import keras
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import WIDTHS, dense_autoencoder
from hvd_ae.models.limits import check_changes_only_itself


def build_model(name: str, sample_shape: tuple[int, ...], output_activation: str, seed: int,
                precision: str = "float32") -> keras.Model:
    """The model of that name, its weights drawn from `seed`.

    Args:
        precision: "bfloat16" has layers compute in it, where they do not choose for themselves, and keep float32 weights
            (Keras's policy `mixed_bfloat16`). "tf32" has GPUs round the numbers that they multiply to 10 bits; on CPUs it
            is float32. This holds for the process, and until the next model is built.
        name: a built-in model, or "package.module:function"; the function is called with `sample_shape` and returns a
            built `keras.Model` whose output has the shape of its input.

    Raises:
        Refused: no such name, module or function, or a model that does not fit the samples.
    """
    keras.utils.set_random_seed(seed)
    if name not in WIDTHS and ":" not in name:
        raise Refused(f"model={name!r} is not known: use {', '.join(WIDTHS)}, or package.module:function")
    with _computing_in(precision):
        if name in WIDTHS:
            return dense_autoencoder(name, sample_shape, output_activation)
        model = find_function(name)(sample_shape)
    _check_model(name, model, sample_shape)
    return model


@contextlib.contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def find_function(path: str):
    """The function of "package.module:function", its module found from the current folder too."""
    module_name, _, function_name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise Refused(f"model={path!r} is not of the form package.module:function: write for instance my_models:build "
                      "for the function build in my_models.py")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # the user's module usually lies where the job is started
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but something that it imports is not: its traceback says more
        raise Refused(f"model={path!r}: there is no module {module_name!r} in {os.getcwd()} or on PYTHONPATH: start "
                      "from the folder that holds it, or set PYTHONPATH") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise Refused(f"model={path!r}: module {module_name!r} has no function {function_name!r}: define "
                      f"`def {function_name}(sample_shape)` there, returning a keras.Model")
    return function


def _check_model(name: str, model, sample_shape: tuple[int, ...]) -> None:
    if not isinstance(model, keras.Model):
        raise Refused(f"model={name!r} returned {type(model).__name__}: it must return a keras.Model")
    if not model.built and isinstance(model, keras.Sequential):
        model.build((None, *sample_shape))
    elif not model.built:
        model(keras.Input(sample_shape))  # a class makes its layers' variables when it is first called
    outputs = model.compute_output_spec(keras.KerasTensor((None, *sample_shape)))
    given = tuple(outputs.shape)[1:] if hasattr(outputs, "shape") else f"a {type(outputs).__name__}"
    if given != tuple(sample_shape):
        raise Refused(f"model={name!r} turns samples of shape {tuple(sample_shape)} into {given}: an autoencoder's "
                      "output must have the shape of its input")
    check_changes_only_itself(model, sample_shape)


def find_encoder(model: keras.Model) -> keras.Model | None:
    """The part from the input to the layer named "code", or else to the layer with the fewest outputs a sample.

    None where the model is not made of layers that follow from its input (a subclassed model without a graph).
    """
    try:
        inputs, layers = model.inputs, [layer for layer in model.layers if _has_one_output(layer)]
    except (AttributeError, ValueError):
        return None
    if not inputs or not layers:
        return None
    named = [layer for layer in layers if layer.name == "code"]
    code = named[0] if named else min(layers, key=_outputs_per_sample)
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, code.output, name="encoder")


def _has_one_output(layer: keras.layers.Layer) -> bool:
    """Whether one tensor comes out of a layer at one place in the model, so that a code could be read there."""
    return hasattr(getattr(layer, "output", None), "shape") and not isinstance(layer, keras.layers.InputLayer)


def _outputs_per_sample(layer: keras.layers.Layer) -> int:
    product = 1
    for size in layer.output.shape[1:]:
        product *= size or sys.maxsize
    return product
