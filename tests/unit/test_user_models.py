"""Models of the user's own: every form in which Keras lets them be written trains, or is refused in a sentence."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import find_encoder
from hvd_ae.models.build import build_model, find_function
from hvd_ae.models.flat import FlatModel
from hvd_ae.tasks.losses import LOSSES

HERE = "tests.unit.test_user_models:"
INPUTS = tf.constant(np.random.default_rng(0).uniform(size=(64, 8)).astype(np.float32))


def functional(shape):
    inputs = keras.Input(shape)
    narrow = layers.Dense(3, name="narrow")(inputs)
    return keras.Model(inputs, layers.Dense(8)(layers.Dense(5)(narrow)))


def with_a_layer_named_code(shape):
    inputs = keras.Input(shape)
    code = layers.Dense(5, name="code")(inputs)
    return keras.Model(inputs, layers.Dense(8)(layers.Dense(3)(code)))


def without_an_input(_):
    return keras.Sequential([layers.Dense(3), layers.Dense(8)])


def nested(shape):
    encoder = keras.Sequential([keras.Input(shape), layers.Dense(3)])
    decoder = keras.Sequential([keras.Input((3,)), layers.Dense(8)])
    return keras.Sequential([keras.Input(shape), encoder, decoder])


def with_a_layer_of_several_outputs(shape):
    inputs = keras.Input(shape)
    _, hidden, cell = layers.LSTM(2, return_state=True)(layers.Reshape((8, 1))(inputs))
    return keras.Model(inputs, layers.Dense(8)(layers.Concatenate()([hidden, cell])))


def wider_than_its_input(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(8)(layers.Dense(32)(inputs)))


class Subclassed(keras.Model):
    """Its `call` says nothing of training, as Keras allows."""

    def __init__(self, **given):
        super().__init__(**given)
        self.narrow, self.dropout, self.wide = layers.Dense(64), layers.Dropout(0.5), layers.Dense(8)

    def call(self, inputs):
        return self.wide(self.dropout(self.narrow(inputs)))


def subclassed(_):
    return Subclassed()


def two_outputs(shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, [layers.Dense(8)(inputs), layers.Dense(8)(inputs)])


@pytest.mark.parametrize("name, code", [
    ("functional", (3,)), ("with_a_layer_named_code", (5,)), ("without_an_input", (3,)), ("nested", (3,)),
    ("with_a_layer_of_several_outputs", (4,)), ("wider_than_its_input", (8,)),
])
def test_the_encoder_ends_at_the_code_or_at_the_narrowest_layer(name, code):
    model = build_model(HERE + name, (8,), "sigmoid", seed=0)
    encoder = find_encoder(model)
    assert encoder(INPUTS).shape[1:] == code
    assert find_encoder(model).output.shape[1:] == code
    assert not isinstance(encoder.layers[-1], layers.InputLayer)  # there is something between input and code


def test_the_encoder_computes_what_the_model_does_on_its_way():
    model = build_model(HERE + "functional", (8,), "sigmoid", seed=0)
    weights, bias = model.get_layer("narrow").get_weights()
    np.testing.assert_allclose(find_encoder(model)(INPUTS), INPUTS.numpy() @ weights + bias, atol=1e-6)


def test_a_model_without_a_graph_has_no_encoder():
    assert find_encoder(build_model(HERE + "subclassed", (8,), "sigmoid", seed=0)) is None


@pytest.mark.parametrize("name", ["functional", "without_an_input", "nested", "with_a_layer_of_several_outputs", "subclassed"])
def test_gradients_are_those_of_keras_whatever_the_kind_of_model(name):
    """Of the loss without dropout, whose masks differ from call to call."""
    model = build_model(HERE + name, (8,), "sigmoid", seed=3)
    if name == "subclassed":
        model.dropout.rate = 0.0
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(tf.square(model(INPUTS) - INPUTS))
    expected = tape.gradient(mean, [v.value for v in model.trainable_variables])
    flat = FlatModel(model, LOSSES["mse"])
    parameters, buffers, counters = flat.read()
    found = flat.value_and_grad(tf.constant(parameters), tf.constant(buffers), [tf.constant(c) for c in counters], INPUTS,
                                INPUTS, tf.constant(64))
    np.testing.assert_allclose(found.gradient[0], np.concatenate([np.ravel(g) for g in expected]), atol=1e-6)


def test_layers_of_a_subclassed_model_know_whether_they_are_trained():
    flat = FlatModel(build_model(HERE + "subclassed", (8,), "sigmoid", seed=0), LOSSES["mse"])
    parameters, buffers, counters = flat.read()
    calls = [flat._call(flat.layout.split(tf.constant(parameters)), tf.constant(buffers), counters, INPUTS, training)[0]
             for training in (True, False, False)]
    np.testing.assert_array_equal(calls[1], calls[2])
    assert np.abs(calls[0] - calls[1]).max() > 0.01  # dropout at work
    np.testing.assert_allclose(calls[1], flat.keras_model(INPUTS), atol=1e-6)


@pytest.mark.parametrize("penalty", ["kernel", "activity"])
def test_penalties_of_layers_count_as_in_keras(penalty):
    regularizer = {f"{penalty}_regularizer": keras.regularizers.L2(0.3)}
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, **regularizer)])
    flat = FlatModel(model, LOSSES["mse"])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    before, buffers, _ = flat.read()
    gradient = flat.value_and_grad(tf.constant(before), tf.constant(buffers), [], INPUTS, INPUTS, tf.constant(64)).gradient[0]
    model.train_on_batch(INPUTS.numpy(), INPUTS.numpy())  # SGD at rate 1: parameters move by the gradient
    np.testing.assert_allclose(before - flat.read()[0], gradient, atol=1e-5)


@pytest.mark.parametrize("name, sentence", [
    ("my/models.py:build", "is not of the form package.module:function: write for instance my_models:build"),
    (":build", "is not of the form"), ("..models:build", "is not of the form"), ("models:", "is not of the form"),
    ("models:a.b", "is not of the form"),
    (HERE + "two_outputs", "turns samples of shape (8,) into a list"),
    (HERE + "INPUTS", "has no function 'INPUTS'"),
])
def test_models_that_cannot_be_are_refused(name, sentence):
    with pytest.raises(Refused) as refusal:
        build_model(name, (8,), "sigmoid", seed=0)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_module_that_is_missing_is_told_from_one_that_it_imports(tmp_path, monkeypatch):
    """The first is the user's flag; for the second the traceback says more than a sentence."""
    (tmp_path / "needy_models.py").write_text("import needy\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'needy'"):
        find_function("needy_models:build")
    with pytest.raises(Refused, match="there is no module 'needy_model' in"):
        find_function("needy_model:build")


def test_a_module_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "models_beside_the_job.py").write_text("def build(shape):\n    return shape\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    assert find_function("models_beside_the_job:build")((3,)) == (3,)
