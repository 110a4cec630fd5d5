"""A model that was trained on normalized values, as one that takes raw data and gives raw units, by plain Keras alone."""

import keras
import numpy as np

from hvd_ae.data.normalization import Normalization

# layers at which `in_both_units` finds what the model itself is given and gives
_NORMALIZED, _RESCALED = "normalized", "rescaled"


def in_raw_units(model: keras.Model, shape: tuple[int, ...], inputs: Normalization | None,
                 outputs: Normalization | None) -> keras.Model:
    """The model between what normalizes its inputs and the inverse for its outputs; the weights are shared.

    Keras's `Normalization` divides by the root of a variance, which it bounds by 1e-7 and which overflows in float32: it is
    given a variance of 1, and a `Rescaling` does the rest.

    Args:
        shape: of one sample.
        inputs, outputs: None where they stay as they are.
    """
    if inputs is None and outputs is None:
        return model
    values = given = keras.Input(shape, name="raw_sample")
    if inputs is not None:
        values = keras.ops.log1p(values) if inputs.logarithm else values
        values = keras.layers.Normalization(**_moving(inputs), name="centred")(values)
        values = keras.layers.Rescaling(inputs.factor.tolist(), name=_NORMALIZED)(values)
        if inputs.fill is not None:
            fill = np.broadcast_to(inputs.fill, shape).astype(np.float32)
            values = keras.ops.where(keras.ops.isnan(values), fill, values)
    values = model(values)
    if outputs is not None:
        values = keras.layers.Rescaling(outputs.scale.tolist(), name=_RESCALED)(values)
        values = keras.layers.Normalization(**_moving(outputs), invert=True, name="raw")(values)
        values = keras.ops.expm1(values) if outputs.logarithm else values
    return keras.Model(given, values, name=model.name)


def _moving(by: Normalization) -> dict:
    """The arguments with which Keras's `Normalization` takes away the shift."""
    axes = tuple(range(-by.shift.ndim, 0)) or None
    return {"axis": axes, "mean": by.shift.tolist(), "variance": np.ones_like(by.shift).tolist()}


def in_both_units(model: keras.Model) -> keras.Model:
    """Of a model that `in_raw_units` made both ways: from raw samples to what it was trained to give, and gave, and that raw.

    Returns a model with three outputs: normalized samples, in which what is missing stays NaN; outputs as they were compared
    with these; and outputs in raw units.
    """
    return keras.Model(model.input, [model.get_layer(_NORMALIZED).output, model.get_layer(_RESCALED).input, model.output])


def trained_outputs_and_raw(model: keras.Model) -> keras.Model:
    """As `in_both_units`, without the samples; where outputs stay as they are, they come twice."""
    names = {layer.name for layer in model.layers}
    return keras.Model(model.input, [model.get_layer(_RESCALED).input if _RESCALED in names else model.output, model.output])
