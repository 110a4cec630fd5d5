"""Law 8: a from-scratch NumPy autoencoder with SGD agrees with the trained one, step by step."""

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.averaging.gradient import Gradient
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.data.load import load
from hvd_ae.models.build import build_model
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Batch, Learner
from hvd_ae.models.optimizers import make_optimizer
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.losses import LOSSES
from tests.reference import autoencoder as reference

WIDTHS = {"shallow": [64, 32, 64], "stacked": [64, 392, 196, 392, 64],
          "deep": [64, 512, 256, 128, 64, 32, 64, 128, 256, 512, 64]}


def test_the_oracle_agrees_with_finite_differences():
    random = np.random.default_rng(1)
    widths, activations = [5, 4, 3, 5], ["relu", "linear", "sigmoid"]
    vector = random.normal(size=5 * 4 + 4 + 4 * 3 + 3 + 3 * 5 + 5)
    inputs, found = random.uniform(size=(7, 5)), []
    for by_weights, by_bias in reference.gradients(reference.from_vector(vector, widths, activations), inputs):
        found += [by_weights.ravel(), by_bias]
    found = np.concatenate(found)
    for position in range(0, len(vector), 3):
        step = np.zeros(len(vector))
        step[position] = 1e-6
        higher = reference.loss_of(reference.from_vector(vector + step, widths, activations), inputs)
        lower = reference.loss_of(reference.from_vector(vector - step, widths, activations), inputs)
        assert found[position] == pytest.approx((higher - lower) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("name, tolerance", [("shallow", 1e-5), ("stacked", 1e-5), ("deep", 1e-5)])
def test_training_agrees_with_the_oracle_step_by_step(name, tolerance):
    images = load("digits", World()).train.seen(np.arange(1500)).reshape(50, 30, 8, 8)
    model = build_model(name, (8, 8), "sigmoid", seed=5)
    learner = Learner(FlatModel(model, LOSSES["mse"]), make_optimizer("sgd", 0.5), rank=0)
    settings = TrainSettings(averaging="gradient").resolved()
    strategy = Gradient(learner, SingleCommunicator(), settings, steps_per_epoch=50)
    step = tf.function(strategy.step)

    layers = reference.from_vector(learner.vector.numpy(), WIDTHS[name], ["relu"] * (len(WIDTHS[name]) - 2) + ["sigmoid"])
    start = reference.to_vector(layers)
    for batch in images:
        expected = reference.loss_of(layers, batch.reshape(30, 64))
        inputs = tf.constant(batch)
        loss_sum = step(Batch(inputs, inputs, tf.constant(30), tf.constant(30)))
        reference.sgd_step(layers, batch.reshape(30, 64), 0.5)
        assert float(loss_sum) / 30 == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(learner.vector.numpy(), reference.to_vector(layers), atol=tolerance)
    assert np.abs(reference.to_vector(layers) - start).max() > 100 * tolerance  # it did move, by far more than rounding
