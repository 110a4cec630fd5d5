"""An adversarial autoencoder (Makhzani et al. 2015, https://arxiv.org/abs/1511.05644), as a task of one's own.

Beside the autoencoder a discriminator learns to tell its codes from draws of a standard normal distribution, and the encoder
learns to be mistaken for one. Both steps are taken at once: the discriminator's gradient is turned round where it enters the
encoder (Ganin et al. 2016, https://jmlr.org/papers/v17/15-239.html). So there is one loss, and every way of averaging, every
number of ranks and every resume works as with any other task.

    $ mpirun -np 2 hvd-ae train --task examples.adversarial:Adversarial --model dense --widths 64 --code 2
"""

import keras
import tensorflow as tf

from hvd_ae.models.autoencoders import CODE, NOISE, OUTPUT, SAMPLE, find_decoder, find_encoder
from hvd_ae.tasks.draws import Draws
from hvd_ae.tasks.reconstruction import Reconstruction
from hvd_ae.tasks.task import main

_WEIGHT = 0.1  # of the discriminator's cross-entropy beside the reconstruction


@tf.custom_gradient
def reversed_gradient(values):
    return tf.identity(values), lambda gradient: -gradient


class Reversed(keras.layers.Layer):
    """Nothing forward; backward, the gradient with its sign changed."""

    def call(self, inputs):
        return reversed_gradient(inputs)


class Adversarial(Reconstruction):
    """The autoencoder of the settings, whose codes are to be normally distributed."""

    draws = True

    def __init__(self, settings):
        super().__init__(settings)
        self.judges_output = False
        self.parts = {"val_reconstruction": lambda targets, outputs: self._base(targets, main(outputs)),
                      "val_told_apart": told_apart}

    def loss(self, targets, outputs):
        return self._base(targets, main(outputs)) + _WEIGHT * cross_entropy(outputs)

    def build_model(self, spec):
        autoencoder = super().build_model(spec)
        encoder, decoder = find_encoder(autoencoder), find_decoder(autoencoder)
        self._code = tuple(encoder.output.shape[1:])
        sample, prior = keras.Input(encoder.input.shape[1:], name=SAMPLE), keras.Input(self._code, name=NOISE)
        discriminator = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1)])
        code = keras.layers.Identity(name=CODE)(encoder(sample))
        return keras.Model({SAMPLE: sample, NOISE: prior},
                           {OUTPUT: decoder(code), "codes": discriminator(Reversed()(code)), "prior": discriminator(prior)})

    def select(self, example):
        inputs, targets = super().select(example)
        draws = Draws.of(example, self.settings.seed)
        prior = tf.zeros([tf.shape(inputs)[0], *self._code]) if draws is None else draws.normal(self._code)
        return {SAMPLE: inputs, NOISE: prior}, targets

    def finished(self, model):
        sample, code, decoder = model.input[SAMPLE], model.get_layer(CODE).output, find_decoder(model)
        return {"model": keras.Model(sample, decoder(code)), "encoder": keras.Model(sample, code), "decoder": decoder}


def cross_entropy(outputs):
    """Of the discriminator in nats, (samples,): its logits are above 0 for what it takes to be of the prior."""
    return (tf.math.softplus(-outputs["prior"]) + tf.math.softplus(outputs["codes"]))[:, 0]


def told_apart(targets, outputs):
    """How often the discriminator is right, (samples,): 0.5 where codes cannot be told from the prior."""
    right = tf.stack([outputs["prior"][:, 0] > 0, outputs["codes"][:, 0] <= 0])
    return tf.reduce_mean(tf.cast(right, tf.float32), axis=0)
