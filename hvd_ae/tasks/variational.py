"""The variational autoencoder: codes are drawn from a Gaussian that the encoder gives, and the evidence is bounded below.

Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; beta: Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl;
with a condition: Sohn et al. 2015.
"""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.data.source import EPOCH, SAMPLES, Field
from hvd_ae.models.autoencoders import (
    LOG_VARIANCE,
    MEAN,
    NOISE,
    OUTPUT,
    SAMPLE,
    Wanted,
    find_decoder,
    find_gaussian,
)
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.draws import Draws
from hvd_ae.tasks.losses import nats_for
from hvd_ae.tasks.measures import Measure
from hvd_ae.tasks.reconstruction import Reconstruction
from hvd_ae.tasks.task import Example, main

_WEIGHT = "weight"  # of the KL divergence, beside the targets, (samples,)
_ACTIVE = 1e-2  # variance over samples of a mean, from which on a number of a code counts as active (Burda et al. 2016)


class Variational(Reconstruction):
    """Minus the evidence lower bound in nats a sample, one code being drawn of each.

    What is reconstructed is of independent features: Gaussian of variance 1 around the outputs (mse), Laplace of scale 1
    (mae), Bernoulli (bce), or counts. `beta` weighs the KL divergence, its weight rising from 0 with the epochs in
    `beta_warmup`; of each number of a sample's code `free_bits` nats count at least, so that fewer are worth nothing. What is
    reported as `val_elbo` has no weights. Metrics are of what the mean code gives, which is what the saved model does.
    """

    draws = True

    def __init__(self, settings: TrainSettings):
        super().__init__(settings)
        self.judges_output = False
        self._nats, self._code = nats_for(settings.loss), None
        self.parts = {"val_elbo": lambda targets, outputs: -self._reconstruction(targets, outputs) - _kl(targets, outputs),
                      "val_reconstruction": self._reconstruction, "val_kl": _kl,
                      "val_active_units": Measure(_moments_of_means, _count_active)}

    def loss(self, targets, outputs) -> tf.Tensor:
        divergence = tf.reduce_sum(tf.maximum(_kl_of_each(outputs), self.settings.free_bits), axis=-1)
        return self._reconstruction(targets, outputs) + targets[_WEIGHT] * divergence

    def wanted(self, spec: Mapping[str, Field]) -> Wanted:
        return dataclasses.replace(super().wanted(spec), is_gaussian=True)

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        model = super().build_model(spec)
        self._code = tuple(model.input[NOISE].shape[1:])
        return model

    def for_saved(self, spec: Mapping[str, Field], code: tuple[int, ...]) -> None:
        self._code = code

    def select(self, example: Example):
        inputs, targets = super().select(example)
        inputs, samples = inputs if isinstance(inputs, dict) else {SAMPLE: inputs}, tf.shape(example[SAMPLES])[0]
        draws = Draws.of(example, self.settings.seed)
        if draws is not None:
            inputs[NOISE] = draws.normal(self._code)
        elif self._code is not None:
            inputs[NOISE] = tf.zeros([samples, *self._code])
        return inputs, {OUTPUT: targets, _WEIGHT: self._weights(example, samples)}

    def _weights(self, example: Example, samples: tf.Tensor) -> tf.Tensor:
        """Of the KL divergence in this epoch; the last one in validation, so that epochs can be compared."""
        s = self.settings
        if not s.beta_warmup or EPOCH not in example:
            return tf.fill([samples], s.beta)
        epochs = tf.cast(example[EPOCH], tf.float32)
        return s.beta * tf.where(epochs < 0.0, 1.0, tf.minimum(1.0, epochs / s.beta_warmup))

    def _reconstruction(self, targets, outputs) -> tf.Tensor:
        return self._nats(main(targets), outputs)

    def finished(self, model: keras.Model) -> dict[str, keras.Model]:
        """The encoder gives a dict of "mean" and "log_variance"; the decoder makes samples of standard normal codes."""
        encoder, whole = find_gaussian(model)
        return {"model": whole, "encoder": encoder, "decoder": find_decoder(model)}


def _kl_of_each(outputs) -> tf.Tensor:
    """From the code's Gaussian to the standard normal, in nats, (samples, code)."""
    mean, log_variance = (tf.cast(outputs[name], tf.float32) for name in (MEAN, LOG_VARIANCE))
    return 0.5 * (tf.square(mean) + tf.exp(log_variance) - 1.0 - log_variance)


def _kl(targets, outputs) -> tf.Tensor:
    return tf.reduce_sum(_kl_of_each(outputs), axis=-1)


def _moments_of_means(targets, outputs) -> tf.Tensor:
    """Each mean and its square, float64 (samples, 2 * code)."""
    mean = tf.cast(outputs[MEAN], tf.float64)
    return tf.concat([mean, tf.square(mean)], axis=-1)


def _count_active(means: np.ndarray) -> int:
    of_means, of_squares = np.split(means, 2)
    return int(np.sum(of_squares - np.square(of_means) > _ACTIVE))
