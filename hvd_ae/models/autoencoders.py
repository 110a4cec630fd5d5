"""From a network to a Keras model of what a task wants; and from a trained one back to its encoder and decoder.

Layers are found again by their names: "code", of a Gaussian one "mean" and "log_variance", and "decoder", a model itself.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from hvd_ae.models.network import Condition, Network, joined

CODE, MEAN, LOG_VARIANCE, DECODER = "code", "mean", "log_variance", "decoder"
SAMPLE, CONDITION, NOISE = "sample", "condition", "noise"  # inputs
OUTPUT = "output"  # the main one of several outputs


@dataclass(frozen=True)
class Wanted:
    """What a task wants of a model.

    shape: of the main output of a sample.
    heads: by name the activations of outputs of that shape; more than one come as a dict.
    condition: a second input; inputs then come as a dict.
    is_gaussian: whether codes are drawn: a third input is noise (samples, code), and mean and log-variance are outputs too.
    has_decoder: whether there is one, or outputs are made of the encoder's features.
    gives_code: whether the code is an output too.
    """

    shape: tuple[int, ...]
    heads: Mapping[str, str | None]
    condition: Condition | None = None
    is_gaussian: bool = False
    has_decoder: bool = True
    gives_code: bool = False


def assembled(network: Network, sample_shape: tuple[int, ...], wanted: Wanted, name: str) -> keras.Model:
    """The network's layers as one model."""
    inputs, outputs, numbers = {SAMPLE: keras.Input(sample_shape, name=SAMPLE)}, {}, None
    if wanted.condition is not None:
        inputs[CONDITION], numbers = wanted.condition.given()
    features = network.encode(inputs[SAMPLE], numbers)
    if len(features.shape) > 2:
        features = keras.layers.Flatten(name="features")(features)
    if wanted.is_gaussian:
        mean = keras.layers.Dense(network.code, name=MEAN, dtype="float32")(features)
        log_variance = keras.layers.Dense(network.code, name=LOG_VARIANCE, dtype="float32")(features)
        inputs[NOISE], code = drawn(mean, log_variance)
        outputs |= {MEAN: mean, LOG_VARIANCE: log_variance}
    else:
        code = keras.layers.Dense(network.code, activation=network.code_activation, name=CODE)(features)
    if wanted.gives_code:
        outputs[CODE] = code
    if not wanted.has_decoder:
        return keras.Model(_alone(inputs, SAMPLE), _alone(outputs | _heads(network, code, wanted), OUTPUT), name=name)
    given, numbers = {CODE: keras.Input((network.code,), name=CODE)}, None
    if wanted.condition is not None:
        given[CONDITION], numbers = wanted.condition.given()
    decoded = _heads(network, network.decode(joined(given[CODE], numbers, "code_and_condition")), wanted)
    decoder = keras.Model(_alone(given, CODE), _alone(decoded, OUTPUT), name=DECODER)
    return _with_decoder(decoder, inputs, code, outputs, name)


def _heads(network: Network, features: keras.KerasTensor, wanted: Wanted) -> dict[str, keras.KerasTensor]:
    """The outputs of a decoder's features, by name."""
    return {head: network.output(features, wanted.shape, activation,
                                 "reconstruction" if head == OUTPUT else f"{head}_values", head)
            for head, activation in wanted.heads.items()}


def _with_decoder(decoder: keras.Model, inputs: dict, code: keras.KerasTensor, outputs: dict, name: str) -> keras.Model:
    """A decoder behind a code, as one layer of a model; what it gives comes beside those outputs."""
    condition = {CONDITION: inputs[CONDITION]} if CONDITION in inputs else {}
    decoded = decoder(_alone({CODE: code, **condition}, CODE))
    outputs = outputs | (decoded if isinstance(decoded, dict) else {OUTPUT: decoded})
    return keras.Model(_alone(inputs, SAMPLE), _alone(outputs, OUTPUT), name=name)


def drawn(mean: keras.KerasTensor, log_variance: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """An input of standard normal numbers, and the code that they make of its mean and the logarithm of its variance."""
    noise = keras.Input(mean.shape[1:], name=NOISE)
    deviation = keras.layers.Multiply(name="deviation")([keras.ops.exp(0.5 * log_variance), noise])
    return noise, keras.layers.Add(name=CODE)([mean, deviation])


def of_parts(encoder: keras.Model, decoder: keras.Model, wanted: Wanted, name: str) -> keras.Model:
    """The same of a user's own encoder and decoder.

    Args:
        encoder: from a sample, or [sample, condition], to its code, or to [mean, log-variance] of it.
        decoder: from a code, or [code, condition], to the output, or to a dict of outputs by name.
    """
    shapes = [tuple(tensor.shape[1:]) for tensor in encoder.inputs]
    inputs = {SAMPLE: keras.Input(shapes[0], name=SAMPLE)}
    if len(shapes) > 1:
        inputs[CONDITION] = keras.Input(shapes[1], name=CONDITION, dtype=encoder.inputs[1].dtype)
    given, outputs = list(inputs.values()), {}
    encoded = encoder(given if len(given) > 1 else given[0])
    if wanted.is_gaussian:
        mean = keras.layers.Identity(name=MEAN, dtype="float32")(encoded[0])
        log_variance = keras.layers.Identity(name=LOG_VARIANCE, dtype="float32")(encoded[1])
        inputs[NOISE], code = drawn(mean, log_variance)
        outputs |= {MEAN: mean, LOG_VARIANCE: log_variance}
    else:
        code = keras.layers.Identity(name=CODE)(encoded)
    if wanted.gives_code:
        outputs[CODE] = code
    taken = {CODE: keras.Input(code.shape[1:], name=CODE)}
    if len(given) > 1:
        taken[CONDITION] = keras.Input(shapes[1], name=CONDITION, dtype=encoder.inputs[1].dtype)
    decoded = decoder(list(taken.values()) if len(taken) > 1 else taken[CODE])
    return _with_decoder(keras.Model(_alone(taken, CODE), decoded, name=DECODER), inputs, code, outputs, name)


def with_code(model: keras.Model) -> keras.Model | None:
    """A model that gives its code too, beside its outputs; None where no layers lead from its input to a code."""
    encoder = find_encoder(model)
    if encoder is None:
        return None
    outputs = output_of(model)
    outputs = outputs if isinstance(outputs, dict) else {OUTPUT: outputs}
    return keras.Model(input_of(model), {**outputs, CODE: encoder.output}, name=model.name)


def main_output(model: keras.Model) -> keras.Model:
    """The model without all outputs but the main one."""
    outputs = output_of(model)
    return keras.Model(model.input, outputs[OUTPUT], name=model.name) if isinstance(outputs, dict) else model


def input_of(model: keras.Model):
    """What a model is given: a symbolic tensor, or several; None of a model that is a class."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0]
    return model.input if hasattr(model, "input") else None


def output_of(model: keras.Model):
    """What a model gives, in the same way."""
    if isinstance(model, keras.Sequential):
        return model.outputs[0]
    return model.output if hasattr(model, "output") else None


def find_encoder(model: keras.Model) -> keras.Model | None:
    """The part from the input to the layer named "code", or else to the layer with the fewest outputs a sample.

    None where the model is not made of layers that follow from its input (a subclassed model without a graph).
    """
    code = _find_code(model)
    return None if code is None else keras.Model(input_of(model), code.output, name="encoder")


def find_decoder(model: keras.Model) -> keras.Model | None:
    """The model within it that is called "decoder", or else the part from its code to its outputs; gives the main output.

    None where there is no such part: no layers, or some that lead around the code.
    """
    code = _find_code(model)
    if code is None or code.output is output_of(model):
        return None
    decoder = next((layer for layer in model.layers if layer.name == DECODER and isinstance(layer, keras.Model)), None)
    if decoder is None:
        try:
            part = keras.Model(code.output, output_of(model))
        except ValueError:  # outputs need more than the code
            return None
        given = keras.Input(code.output.shape[1:], name=CODE)
        decoder = keras.Model(given, part(given), name=DECODER)
    return main_output(decoder)


def find_gaussian(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Of a model whose codes are drawn: the encoder, which gives mean and log-variance; the model without any draw."""
    given = _alone({SAMPLE: model.input[SAMPLE], **_condition_of(model)}, SAMPLE)
    mean, log_variance = (model.get_layer(name).output for name in (MEAN, LOG_VARIANCE))
    encoder = keras.Model(given, {MEAN: mean, LOG_VARIANCE: log_variance}, name="encoder")
    condition = _condition_of(model)
    outputs = find_decoder(model)(_alone({CODE: mean, **condition}, CODE))
    return encoder, keras.Model(given, outputs, name=model.name)


def code_of(encoded):
    """The code of what an encoder gives: of a Gaussian one the mean."""
    return encoded[MEAN] if isinstance(encoded, dict) else encoded


def to_code(encoder: keras.Model) -> keras.Model:
    """An encoder that gives a code and nothing else."""
    outputs = output_of(encoder)
    return keras.Model(encoder.input, outputs[MEAN], name=encoder.name) if isinstance(outputs, dict) else encoder


def _condition_of(model: keras.Model) -> dict:
    inputs = input_of(model)
    return {CONDITION: inputs[CONDITION]} if isinstance(inputs, dict) and CONDITION in inputs else {}


def _alone(tensors: dict, name: str):
    """A dict of tensors, or the only one."""
    return tensors if len(tensors) > 1 else tensors[name]


def _find_code(model: keras.Model) -> keras.layers.Layer | None:
    try:
        inputs, layers = model.inputs, [layer for layer in model.layers if _has_one_output(layer)]
    except (AttributeError, ValueError):
        return None
    if not inputs or not layers:
        return None
    named = [layer for layer in layers if layer.name == CODE]
    return named[0] if named else min(layers, key=_outputs_per_sample)


def _has_one_output(layer: keras.layers.Layer) -> bool:
    """Whether one tensor comes out of a layer at one place in the model, so that a code could be read there."""
    return hasattr(getattr(layer, "output", None), "shape") and not isinstance(layer, keras.layers.InputLayer)


def _outputs_per_sample(layer: keras.layers.Layer) -> int:
    product = 1
    for size in layer.output.shape[1:]:
        product *= size or sys.maxsize
    return product
