"""Variational and convolutional autoencoders of Fashion-MNIST against plain Keras: `make soak`."""

import json
import os
import statistics
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

# On one core, as the run that it is compared with; the seconds of each epoch but the first, in which Keras traces.
CONV = """
import sys, json, time, numpy as np, keras, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
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
ends = []
model.fit(train, train, batch_size=128, epochs=epochs, verbose=0,
          callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))])
print(json.dumps({"val_mse": model.evaluate(validation, validation, batch_size=1000, verbose=0),
                  "samples_per_second": (epochs - 1) * len(train) / (ends[-1] - ends[0])}))
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


def test_conv_comes_to_the_error_of_plain_keras_at_its_speed(tmp_path, epochs=3, seeds=(0, 1, 2)):
    """In turns, one core each; the median of the turns' ratios, since a machine is not equally fast at all times."""
    errors, speeds = [], []
    for seed in seeds:
        run_dir = tmp_path / str(seed)
        succeeded(run([HVD_AE, "train", "--data", "fashion-mnist", "--model", "conv", "--widths", "16,32", "--code", "32",
                       "--epochs", str(epochs), "--seed", str(seed), "--collectives", "single", "--threads", "1",
                       "--run-dir", str(run_dir)], timeout=3000))
        *_, last = records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        theirs = by_keras(CONV, epochs, seed)
        errors.append((last["val_mse"], theirs["val_mse"]))
        speeds.append(statistics.median(each["samples_per_second"] for each in records[1:]) / theirs["samples_per_second"])
        print(errors[-1], speeds[-1])
    ours, plain = (statistics.mean(each) for each in zip(*errors))
    assert ours <= 1.02 * plain
    assert statistics.median(speeds) >= 0.8
