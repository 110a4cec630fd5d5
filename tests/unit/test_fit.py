"""What a compiled model brings is used, or refused by name; and what is an array in memory."""

import keras
import numpy as np
import pytest

import hvd_ae
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.data.memory import splits_of
from hvd_ae.errors import Refused

X = np.random.default_rng(0).random((20, 4)).astype(np.float32)


def compiled(optimizer="sgd", loss="mse", **more):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="mine")
    model.compile(optimizer, loss, **more)
    return model


def sum_of_all(targets, outputs):
    return keras.ops.sum(targets - outputs)


REFUSED = {
    "model 'mine' is compiled without a loss": {"loss": None},
    "loss='mze' of model 'mine' is not known": {"loss": "mze"},
    "has reduction='sum'": {"loss": keras.losses.MeanSquaredError(reduction="sum")},
    "one number for a whole batch": {"loss": sum_of_all},
    "metric 'auc' \\(AUC\\) is no mean over samples": {"metrics": [keras.metrics.AUC(name="auc")]},
    "compiled with weighted_metrics": {"weighted_metrics": ["mae"]},
    "run_eagerly=True": {"run_eagerly": True},
    "has gradient_accumulation_steps=2: leave it out, and use accumulate": {
        "optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
}


@pytest.mark.parametrize("match", REFUSED)
def test_what_is_compiled_is_never_passed_over(tmp_path, match):
    model = compiled(**REFUSED[match])
    before = model.get_weights()
    with pytest.raises(Refused, match=match):
        hvd_ae.fit(model, X, sample_weight=np.ones(20), comm=SingleCommunicator(), run_dir=str(tmp_path / "run"), epochs=1)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.compiled


@pytest.mark.parametrize("given, match", [
    ({"learning_rate": 0.1}, "learning_rate=0.1 is said by compile\\(\\) in fit"),
    ({"epoch": 3}, "epoch=3 is no setting: did you mean epochs\\?"),
    ({"y": X[:3]}, "there are 20 samples"),
    ({"sample_weight": X}, "sample_weight has shape \\(20, 4\\): give one number for each of the 20 samples"),
    ({"y": X[:, :3]}, "cannot compare targets of shape \\(3,\\) with outputs of shape \\(4,\\)"),
    ({"validation": (X[:3], X[:3])}, "of other shapes than samples to train on"),
])
def test_what_does_not_fit_is_refused(tmp_path, given, match):
    with pytest.raises(Refused, match=match):
        hvd_ae.fit(compiled(), X, comm=SingleCommunicator(), run_dir=str(tmp_path / "run"), **given)


def test_a_model_that_is_not_for_fit_is_refused():
    with pytest.raises(Refused, match="model 'mine' is not compiled"):
        hvd_ae.fit(keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="mine"), X, comm=SingleCommunicator())
    given = keras.Input((4,))
    two = keras.Model(given, [keras.layers.Dense(1)(given), keras.layers.Dense(1)(given)], name="two")
    two.compile("sgd", "mse")
    with pytest.raises(Refused, match="model 'two' has 1 inputs and 2 outputs"):
        hvd_ae.fit(two, X, comm=SingleCommunicator())


def test_arrays_in_memory_are_split_as_a_file_is():
    splits = splits_of((X, X[:, :1]), 0.25)
    assert (splits.train.count, splits.validation.count) == (15, 5)
    np.testing.assert_array_equal(splits.validation.read(np.arange(5), ["targets"])["targets"], X[15:, :1])
    assert splits_of(splits) is splits
    assert splits_of({"samples": (X * 255).astype(np.uint8), "labels": np.arange(20)}).train.fields["samples"].scale == 1 / 255
    with pytest.raises(Refused, match="one of them must be called samples"):
        splits_of({"x": X})
