"""What a saved model makes of samples as they are read, for `Blocks`."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from hvd_ae.data.source import SAMPLES, Field
from hvd_ae.inference.blocks import Function
from hvd_ae.models.autoencoders import MEAN


def codes(encoder: keras.Model, field: Field) -> Function:
    """The codes, float32 (samples, *shape of a code); of a variational encoder, their means.

    Args:
        encoder: a run's `encoder.keras`, which takes raw data.
        field: of the samples.
    """
    return _named("codes", encoder, field)


def reconstructions(model: keras.Model, field: Field) -> Function:
    """What the model gives back, float32, in raw units."""
    return _named("reconstructions", model, field)


def _named(name: str, model: keras.Model, field: Field) -> Function:
    def function(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: main_of(model(scaled(example[SAMPLES], field), training=False))}

    return function


def main_of(outputs: tf.Tensor | Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The output itself, or of a Gaussian its mean; float32."""
    return tf.cast(outputs[MEAN] if isinstance(outputs, Mapping) else outputs, tf.float32)


def scaled(samples: tf.Tensor, field: Field) -> tf.Tensor:
    """Samples as they are read, in the units of the user's data: bytes become 0 to 1, all else float32."""
    return tf.cast(samples, tf.float32) * tf.constant(field.scale, tf.float32)
