"""What plain Keras uses of a model in `fit`: honoured here, with Keras as the peer, or refused by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hvd_ae.averaging.compression import fitting_scale
from hvd_ae.errors import Refused
from hvd_ae.models.build import build_model
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Batch, Learner
from hvd_ae.models.optimizers import make_optimizer
from hvd_ae.tasks.losses import LOSSES

HERE = "tests.unit.test_honoured:"
INPUTS = np.random.default_rng(0).uniform(size=(64, 8)).astype(np.float32)


class AddsVectors(layers.Layer):
    """Adds to the loss what is no scalar."""

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(inputs), axis=0))
        return inputs


def penalised(shape):
    return keras.Sequential([
        keras.Input(shape), layers.Dense(8, activity_regularizer=keras.regularizers.L2(0.3)),
        AddsVectors(), layers.Dense(8, kernel_regularizer=keras.regularizers.L1(0.01))])


@pytest.mark.parametrize("constraint", [
    keras.constraints.NonNeg(), keras.constraints.MaxNorm(0.6, axis=0), keras.constraints.MaxNorm(0.6, axis=1),
    keras.constraints.UnitNorm(axis=0), keras.constraints.MinMaxNorm(0.2, 0.7, rate=0.5, axis=1)])
def test_updates_under_constraints_are_those_of_keras(constraint):
    def model():
        keras.utils.set_random_seed(1)
        return keras.Sequential([keras.Input((8,)), layers.Dense(5, kernel_constraint=constraint), layers.Dense(8)])

    peer = model()
    peer.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    learner = Learner(FlatModel(model(), LOSSES["mse"]), make_optimizer("sgd", 0.5), rank=0)
    for rows in (INPUTS[:16], INPUTS[16:48], INPUTS[48:]):
        peer.train_on_batch(rows, rows)
        batch = Batch(tf.constant(rows), tf.constant(rows), tf.constant(len(rows)), tf.constant(len(rows)))
        learner.update(learner.gradient(batch, tf.constant(len(rows)))[0])
    expected = np.concatenate([np.ravel(weight) for weight in peer.get_weights()])
    np.testing.assert_allclose(learner.vector, expected, atol=1e-5)


def test_losses_with_penalties_are_those_that_keras_reports():
    """Vectors that a layer adds among them; the gradient too, by SGD at rate 1."""
    model = build_model(HERE + "penalised", (8,), "linear", seed=2)
    flat = FlatModel(model, LOSSES["mse"])
    vectors = flat.read()
    found = flat.value_and_grad(*map(tf.constant, vectors[:2]), [], INPUTS, INPUTS, tf.constant(64))
    learner = Learner(FlatModel(build_model(HERE + "penalised", (8,), "linear", seed=2), LOSSES["mse"]),
                      make_optimizer("sgd", 1.0), rank=0)
    loss, mse = learner.losses_of(learner.vector, learner.buffers, [], tf.constant(INPUTS), INPUTS, [LOSSES["mse"]],
                                  tf.constant(float(len(INPUTS)), tf.float64))
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse", metrics=["mse"])
    evaluated = model.evaluate(INPUTS, INPUTS, batch_size=64, return_dict=True, verbose=0)
    assert float(loss) / 64 == pytest.approx(evaluated["loss"], rel=1e-5)
    assert float(mse) / 64 == pytest.approx(evaluated["mse"], rel=1e-5)
    assert evaluated["loss"] > 1.5 * evaluated["mse"]
    assert float(found.loss_sum) / 64 == pytest.approx(float(model.train_on_batch(INPUTS, INPUTS)[0]), rel=1e-5)
    moved = vectors[0] - np.concatenate([np.ravel(v) for v in model.trainable_variables])
    np.testing.assert_allclose(found.gradient[0], moved, atol=1e-5)


class OwnStep(keras.Model):
    def __init__(self, **given):
        super().__init__(**given)
        self.dense = layers.Dense(8)

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        raise AssertionError


class OwnLoss(keras.Sequential):
    def compute_loss(self, **given):
        raise AssertionError


class Counts(layers.Layer):
    def __init__(self, **given):
        super().__init__(**given)
        self.mean = keras.metrics.Mean(name="mean_of_inputs")

    def call(self, inputs):
        self.mean.update_state(inputs)
        return inputs


class DrawsWithoutASeed(layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


class Keeps(layers.Layer):
    def build(self, shape):
        self.mask = self.add_weight(shape=(8,), dtype="bfloat16", trainable=False, name="mask")

    def call(self, inputs):
        return inputs * keras.ops.cast(self.mask, inputs.dtype)


def own_step(_):
    return OwnStep()


def own_loss(shape):
    return OwnLoss([keras.Input(shape), layers.Dense(8)])


def compiled(shape):
    model = keras.Sequential([keras.Input(shape), layers.Dense(8)])
    model.compile(loss="mae", loss_weights=[2.0])
    return model


def with_a_metric(shape):
    return keras.Sequential([keras.Input(shape), layers.Dense(8), Counts()])


def drawing(shape):
    return keras.Sequential([keras.Input(shape), layers.Dense(8), DrawsWithoutASeed()])


def frozen(shape):
    model = keras.Sequential([keras.Input(shape), layers.Dense(8)])
    model.trainable = False
    return model


def brain_float(shape):
    return keras.Sequential([keras.Input(shape), layers.Dense(8), Keeps()])


@pytest.mark.parametrize("name, sentence", [
    ("own_step", "defines its own train_step, which would not be called here: put what it adds to the loss into a layer"),
    ("own_loss", "defines its own compute_loss, which would not be called here"),
    ("compiled", "is compiled, but the optimizer, loss, loss_weights, metrics and jit_compile of its compile() would not be"),
    ("with_a_metric", "updates the metrics mean_of_inputs when it is called, which would not be reported here"),
    ("drawing", "such as the state of keras.random without a seed: give the layer that draws a keras.random.SeedGenerator"),
    ("frozen", "has no parameters that are trained: leave a layer trainable"),
    ("brain_float", "in bfloat16, which no .npy file of a checkpoint can hold: use float32"),
])
def test_what_is_not_honoured_is_refused_by_name(name, sentence):
    with pytest.raises(Refused) as refusal:
        FlatModel(build_model(HERE + name, (8,), "linear", seed=0), LOSSES["mse"])
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_layers_that_are_frozen_in_the_middle_stay_as_they_are():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6), layers.Dense(6, name="frozen"), layers.Dense(8)])
    model.get_layer("frozen").trainable = False
    before = model.get_layer("frozen").get_weights()[0]
    learner = Learner(FlatModel(model, LOSSES["mse"]), make_optimizer("sgd", 0.5), rank=3)
    batch = Batch(tf.constant(INPUTS), tf.constant(INPUTS), tf.constant(64), tf.constant(64))
    learner.update(learner.gradient(batch, tf.constant(64))[0])
    after = learner.flat.write(learner.vector.numpy(), learner.buffers.numpy())
    np.testing.assert_array_equal(after.get_layer("frozen").get_weights()[0], before)


@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 6, 7, 9, 64, 1000])
def test_no_sum_of_numbers_rounded_to_float16_reaches_infinity(ranks):
    """And the scale wastes no more than a factor of two, and what rounding may add."""
    for share in (65472, 65499, 65503.9, 65504, 32752, 3.0, 2.0**-40, 1e30):
        largest = np.float32(share / ranks)
        scale = float(fitting_scale(tf.constant(largest), ranks))
        rounded = np.float16(largest * scale)
        assert np.isfinite(np.float16(np.float32(rounded) * ranks))
        assert 2 * scale * float(largest) * ranks > 65504 * (1 - 2**-9)
        assert np.log2(scale) == round(np.log2(scale))
