"""From settings to a Keras model: a built-in network, or the user's own by import path."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.data.source import SAMPLES, Field
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import CODE, CONDITION, NOISE, OUTPUT, SAMPLE, Wanted, assembled, of_parts, with_code
from hvd_ae.models.limits import check_changes_only_itself
from hvd_ae.models.network import make_network
from hvd_ae.runtime.users import find_by_path
from hvd_ae.settings.models import MODELS
from hvd_ae.settings.train import TrainSettings


def build(settings: TrainSettings, spec: Mapping[str, Field], field: str, wanted: Wanted) -> keras.Model:
    """The model of the settings for what a task wants, its weights drawn from their seed.

    `precision` "bfloat16" has layers compute in it, where they do not choose for themselves, and keep float32 weights
    (Keras's policy `mixed_bfloat16`). "tf32" has GPUs round the numbers that they multiply to 10 bits; on CPUs it is float32.
    This holds for the process, and until the next model is built.

    A user's "package.module:function" is called with the shape of a sample; with `spec`, if it has an argument of that name;
    with both, if it has others too. It returns a built `keras.Model`, or a pair of an encoder and a decoder.

    Args:
        field: the one that the model is given.

    Raises:
        Refused: no such module or function, or a model that does not fit the samples.
    """
    keras.utils.set_random_seed(settings.seed)
    shape, name = spec[field].shape, settings.model
    with _computing_in(settings.precision):
        if name in MODELS:
            return assembled(make_network(settings, shape), shape, wanted, name)
        made = _called(find_function(name), shape, spec)
        if isinstance(made, tuple) and len(made) == 2 and all(isinstance(part, keras.Model) for part in made):
            made = _of_users_parts(name, *made, wanted)
        elif wanted.is_gaussian:
            raise Refused(f"model={name!r} returned one model, and codes that are drawn need two: return (encoder, decoder), "
                          "the encoder giving [mean, log-variance]")
    return _checked(name, made, shape, wanted)


def build_model(name: str, sample_shape: tuple[int, ...], output_activation: str, seed: int,
                precision: str = "float32") -> keras.Model:
    """The autoencoder of that name, as `build` makes it."""
    given = {} if ":" in name else {"output_activation": output_activation}
    settings = TrainSettings(model=name, seed=seed, precision=precision, **given).resolved()
    spec = {SAMPLES: Field(tuple(sample_shape), np.dtype(np.float32))}
    return build(settings, spec, SAMPLES, Wanted(tuple(sample_shape), {OUTPUT: output_activation}))


def _called(function, shape: tuple[int, ...], spec: Mapping[str, Field]):
    parameters = inspect.signature(function).parameters
    if "spec" not in parameters:
        return function(shape)
    return function(shape, spec=spec) if len(parameters) > 1 else function(spec=spec)


def _of_users_parts(name: str, encoder: keras.Model, decoder: keras.Model, wanted: Wanted) -> keras.Model:
    codes = len(encoder.outputs)
    if codes != 1 + wanted.is_gaussian:
        what = "[mean, log-variance]" if wanted.is_gaussian else "one code"
        raise Refused(f"model={name!r}: its encoder gives {codes} outputs, where {what} is needed for this task")
    return of_parts(encoder, decoder, wanted, name.rpartition(":")[2])


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
    return find_by_path("model", path, "my_models:build", "(sample_shape)` there, returning a keras.Model")


def _checked(name: str, model, shape: tuple[int, ...], wanted: Wanted) -> keras.Model:
    """The user's model, built; with its code beside its outputs, where that is wanted.

    Raises:
        Refused: it is none, or does not give what is wanted.
    """
    if not isinstance(model, keras.Model):
        raise Refused(f"model={name!r} returned {type(model).__name__}: it must return a keras.Model")
    if not model.built and isinstance(model, keras.Sequential):
        model.build((None, *shape))
    elif not model.built:
        model(keras.Input(shape))  # a class makes its layers' variables when it is first called
    given = _given(model, shape, wanted)
    try:
        symbolic = tf.nest.map_structure(lambda each: keras.KerasTensor(each.shape, each.dtype), given)
        outputs = model.compute_output_spec(symbolic)
    except (ValueError, TypeError, KeyError) as error:
        if wanted.condition is None:
            raise
        raise Refused(f"model={name!r} cannot be called with a sample and a condition ({str(error).splitlines()[0]}): make "
                      "its inputs a dict, {'sample': ..., 'condition': ...}") from None
    main = outputs if hasattr(outputs, "shape") else outputs.get(OUTPUT) if isinstance(outputs, dict) else None
    found = tuple(main.shape)[1:] if hasattr(main, "shape") else f"a {type(outputs).__name__}"
    if found != tuple(wanted.shape):
        must = ("an autoencoder's output must have the shape of its input" if tuple(shape) == tuple(wanted.shape)
                else f"the output must have the shape {tuple(wanted.shape)} of what it is compared with")
        raise Refused(f"model={name!r} turns samples of shape {tuple(shape)} into {found}: {must}")
    lacking = [head for head in wanted.heads if head != OUTPUT and not (isinstance(outputs, dict) and head in outputs)]
    if lacking:
        raise Refused(f"model={name!r} does not give {' and '.join(lacking)}, which its loss needs: return outputs as a dict "
                      f"of {', '.join(wanted.heads)}")
    check_changes_only_itself(model, tf.nest.map_structure(lambda each: tf.zeros([1, *each.shape[1:]], each.dtype), given))
    if wanted.gives_code and CODE not in (outputs if isinstance(outputs, dict) else {}):
        model = with_code(model)
        if model is None:
            raise Refused(f"model={name!r} has no code that can be found, whose values are to be few: make it of layers, such "
                          "as a keras.Sequential")
    return model


@dataclass(frozen=True)
class _Given:
    """An input of the model's."""

    shape: tuple[int | None, ...]
    dtype: str


def _given(model: keras.Model, shape: tuple[int, ...], wanted: Wanted):
    """What the model is called with."""
    given = {SAMPLE: _Given((None, *shape), "float32")}
    if wanted.condition is not None:
        given[CONDITION] = _Given((None, *wanted.condition.shape), "float32" if wanted.condition.classes is None else "int32")
    if wanted.is_gaussian:
        given[NOISE] = _Given(tuple(model.input[NOISE].shape), "float32")
    return given if len(given) > 1 else given[SAMPLE]
