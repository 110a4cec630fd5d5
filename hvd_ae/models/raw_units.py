"""A model that was trained on normalized values, as one that takes raw data and gives raw units, by plain Keras alone."""

from collections.abc import Mapping

import keras
import numpy as np

from hvd_ae.data.normalization import Normalization
from hvd_ae.models.autoencoders import CODE, SAMPLE, input_of

# layers at which `in_both_units` finds what the model itself is given and gives
_NORMALIZED, _RESCALED = "normalized", "rescaled"


def in_raw_units(model: keras.Model, shape: tuple[int, ...], inputs: Mapping[str, Normalization | None],
                 outputs: Normalization | None) -> keras.Model:
    """The model between what normalizes its inputs and the inverse for its outputs; the weights are shared.

    Keras's `Normalization` divides by the root of a variance, which it bounds by 1e-7 and which overflows in float32: it is
    given a variance of 1, and a `Rescaling` does the rest.

    Args:
        shape: of one sample, for a model that is a class and does not know it.
        inputs: by name; the only input of a model is a "sample", if it has no name that stands here. None or nothing for those
            that stay as they are.
        outputs: None where they stay as they are.
    """
    names = _inputs_of(model, shape)
    if outputs is None and not any(inputs.get(name) is not None for name in names):
        return model
    given = {name: keras.Input(shape, name=name if len(names) > 1 else "raw_sample", dtype=dtype)
             for name, (shape, dtype) in names.items()}
    seen = {name: _normalized(values, inputs.get(name), "" if name == SAMPLE else f"_{name}")
            for name, values in given.items()}
    values = model(seen if len(seen) > 1 else seen[next(iter(seen))])
    if outputs is not None:
        values = keras.layers.Rescaling(outputs.scale.tolist(), name=_RESCALED)(values)
        values = keras.layers.Normalization(**_moving(outputs), invert=True, name="raw")(values)
        values = keras.ops.expm1(values) if outputs.logarithm else values
    return keras.Model(given if len(given) > 1 else given[next(iter(given))], values, name=model.name)


def _inputs_of(model: keras.Model, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each input, by name."""
    given = input_of(model)
    if given is None:
        return {SAMPLE: (shape, "float32")}
    if not isinstance(given, dict):
        given = {CODE if given.name == CODE else SAMPLE: given}
    return {name: (tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in given.items()}


def _normalized(values: keras.KerasTensor, by: Normalization | None, suffix: str) -> keras.KerasTensor:
    if by is None:
        return values
    shape = values.shape[1:]
    values = keras.ops.log1p(values) if by.logarithm else values
    values = keras.layers.Normalization(**_moving(by), name=f"centred{suffix}")(values)
    values = keras.layers.Rescaling(by.factor.tolist(), name=f"{_NORMALIZED}{suffix}")(values)
    if by.fill is None:
        return values
    return keras.ops.where(keras.ops.isnan(values), np.broadcast_to(by.fill, shape).astype(np.float32), values)


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
