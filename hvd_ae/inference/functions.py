"""What a saved model makes of samples as they are read, for `Blocks`."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from hvd_ae.data.source import NUMBER, SAMPLES, Field
from hvd_ae.inference.blocks import Function
from hvd_ae.models.autoencoders import CODE, CONDITION, MEAN, SAMPLE
from hvd_ae.tasks.draws import Draws
from hvd_ae.tasks.task import as_seen

_OF_SAMPLING = -1000  # the epoch of draws of new samples, which no training and no validation has


def codes(encoder: keras.Model, spec: Mapping[str, Field], condition: str | None = None) -> Function:
    """The codes, float32 (samples, *shape of a code); of a variational encoder, their means.

    Args:
        encoder: a run's `encoder.keras`, which takes raw data.
        spec: the fields of the samples.
        condition: the field that the encoder is given beside samples; None for a model of samples alone.
    """
    return _named("codes", encoder, spec, condition)


def reconstructions(model: keras.Model, spec: Mapping[str, Field], condition: str | None = None) -> Function:
    """What the model gives back, float32, in raw units."""
    return _named("reconstructions", model, spec, condition)


def decoded(decoder: keras.Model, spec: Mapping[str, Field], condition: str | None = None) -> Function:
    """What the decoder makes of codes, which are read as samples are, float32, in raw units."""

    def function(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        taken = given(example, spec, condition)
        if isinstance(taken, dict):
            taken = {CODE: taken[SAMPLE], CONDITION: taken[CONDITION]}
        return {"samples": main_of(decoder(taken, training=False))}

    return function


def drawn(decoder: keras.Model, code: tuple[int, ...], seed: int) -> Function:
    """What the decoder makes of standard normal codes, a function of the seed and each sample's number."""

    def function(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        draws = Draws(seed, tf.fill(tf.shape(example[NUMBER]), tf.constant(_OF_SAMPLING, tf.int64)), example[NUMBER])
        return {"samples": main_of(decoder(draws.normal(code), training=False))}

    return function


def given(example: Mapping[str, tf.Tensor], spec: Mapping[str, Field], condition: str | None
          ) -> tf.Tensor | dict[str, tf.Tensor]:
    """What a saved model takes of fields as they are read."""
    taken = {name: example[name] for name in (SAMPLES, condition) if name is not None}
    seen = as_seen(taken, spec, fill=False, normalize=False)
    return seen[SAMPLES] if condition is None else {SAMPLE: seen[SAMPLES], CONDITION: seen[condition]}


def _named(name: str, model: keras.Model, spec: Mapping[str, Field], condition: str | None) -> Function:
    def function(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: main_of(model(given(example, spec, condition), training=False))}

    return function


def main_of(outputs: tf.Tensor | Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The output itself, or of a Gaussian its mean; float32."""
    return tf.cast(outputs[MEAN] if isinstance(outputs, Mapping) else outputs, tf.float32)

