"""Variational and convolutional autoencoders of Fashion-MNIST against plain Keras: `make soak`."""

import json
import os
import sys

import pytest

from hvd_ae.data.download import find_files, search_folders
from tests.launch import HVD_AE, mpirun, run, succeeded

pytestmark = [
    pytest.mark.soak, pytest.mark.timeout(3600),
    pytest.mark.skipif(find_files("fashion-mnist", search_folders("fashion-mnist", os.environ)) is None,
                       reason="Fashion-MNIST is not on this machine")]

# Plain Keras, as the documentation of `keras.Model.add_loss` has it: layers draw, and `fit` sees to batches.
VARIATIONAL = """
import sys, json, numpy as np, keras
from hvd_ae.data.download import load
epochs, seed = map(int, sys.argv[1:])
data = load("fashion-mnist", 0)
train, validation = (part.seen(np.arange(part.count)).reshape(-1, 784) for part in (data.train, data.validation))
keras.utils.set_random_seed(seed)

class Sampling(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(seed)
    def call(self, inputs):
        mean, log_variance = inputs
        divergence = -0.5 * keras.ops.sum(1 + log_variance - mean**2 - keras.ops.exp(log_variance), axis=1)
        self.add_loss(keras.ops.mean(divergence))
        return mean + keras.ops.exp(0.5 * log_variance) * keras.random.normal(keras.ops.shape(mean), seed=self.seed)

dense, given = keras.layers.Dense, keras.Input((784,))
hidden = dense(256, "relu")(dense(512, "relu")(given))
mean = dense(16)(hidden)
code = Sampling()([mean, dense(16)(hidden)])
model = keras.Model(given, dense(784, "sigmoid")(dense(512, "relu")(dense(256, "relu")(code))))
model.compile(keras.optimizers.Adam(1e-3), lambda x, y: 784.0 * keras.losses.binary_crossentropy(x, y))
model.fit(train, train, batch_size=128, epochs=epochs, verbose=0)
means = keras.Model(given, mean).predict(validation, batch_size=1000, verbose=0)
print(json.dumps({"val_elbo": -model.evaluate(validation, validation, batch_size=1000, verbose=0),
                  "val_active_units": int((means.var(axis=0) > 0.01).sum())}))
"""

CONV = """
import sys, json, time, numpy as np, keras
from hvd_ae.data.download import load
epochs, seed = map(int, sys.argv[1:])
data = load("fashion-mnist", 0)
train, validation = (part.seen(np.arange(part.count))[..., np.newaxis] for part in (data.train, data.validation))
keras.utils.set_random_seed(seed)
L = keras.layers
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
    L.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
    L.Flatten(), L.Dense(32), L.Dense(7 * 7 * 32, activation="relu"), L.Reshape((7, 7, 32)),
    L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
    L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
    L.Conv2D(1, 3, padding="same", activation="sigmoid")])
model.compile(keras.optimizers.Adam(1e-3), "mse")
model.fit(train[:1280], train[:1280], batch_size=128, epochs=1, verbose=0)
keras.utils.set_random_seed(seed)
model = keras.models.clone_model(model)
model.compile(keras.optimizers.Adam(1e-3), "mse")
started = time.perf_counter()
model.fit(train, train, batch_size=128, epochs=epochs, verbose=0)
seconds = time.perf_counter() - started
print(json.dumps({"val_mse": model.evaluate(validation, validation, batch_size=1000, verbose=0),
                  "samples_per_second": epochs * len(train) / seconds}))
"""


def by_keras(code: str, *arguments) -> dict:
    said = run([sys.executable, "-c", code, *map(str, arguments)], timeout=3000, PYTHONWARNINGS="ignore")
    return json.loads(succeeded(said).splitlines()[-1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_variational_comes_to_the_bound_of_plain_keras(tmp_path, seed, epochs=20):
    """20 epochs, two ranks with 64 samples each against one process with 128."""
    network = ["--model", "dense", "--widths", "512,256", "--code", "16"]
    succeeded(mpirun(2, HVD_AE, "train", "--data", "fashion-mnist", "--task", "variational", "--loss", "bce", *network,
                     "--batch-size", "64", "--epochs", str(epochs), "--seed", str(seed), "--run-dir", str(tmp_path / "run"),
                     timeout=3000))
    ours = json.loads((tmp_path / "run" / "summary.json").read_text())
    theirs = by_keras(VARIATIONAL, epochs, seed)
    print(ours["val_elbo"], theirs["val_elbo"], ours["val_active_units"], theirs["val_active_units"])
    assert ours["val_elbo"] == pytest.approx(theirs["val_elbo"], rel=0.01)
    assert abs(ours["val_active_units"] - theirs["val_active_units"]) <= 1


def test_conv_comes_to_the_error_of_plain_keras(tmp_path, epochs=5, seed=0):
    succeeded(run([HVD_AE, "train", "--data", "fashion-mnist", "--model", "conv", "--widths", "16,32", "--code", "32",
                   "--epochs", str(epochs), "--seed", str(seed), "--collectives", "single", "--threads", "1",
                   "--run-dir", str(tmp_path / "run")], timeout=3000))
    ours = json.loads((tmp_path / "run" / "summary.json").read_text())
    theirs = by_keras(CONV, epochs, seed)
    print(ours["val_mse"], theirs["val_mse"], ours["samples_per_second"], theirs["samples_per_second"])
    assert ours["val_mse"] <= 1.02 * theirs["val_mse"]
