"""A compiled model on ranks, against plain Keras: one batch of all samples a step, so that their order does not matter."""

import keras
import numpy as np
import pytest

import hvd_ae
from tests.parallel.on_ranks.test_laws import shared_folder

pytestmark = pytest.mark.jobs("mpi-2")
SAMPLES, EPOCHS = 60, 4
RANDOM = np.random.default_rng(0)
X, CLASSES = RANDOM.random((SAMPLES + 10, 6)).astype(np.float32), RANDOM.integers(3, size=SAMPLES + 10)
WEIGHTS = RANDOM.random(SAMPLES + 10)


def build(outputs, activation):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="tanh"),
                             keras.layers.Dense(outputs, activation=activation, kernel_regularizer="l2")])


def classifier(**optimizer):
    model = build(3, "softmax")
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9, nesterov=True, **optimizer), "sparse_categorical_crossentropy",
                  loss_weights=[2.0], metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy(name="nats")])
    return model


def autoencoder():
    model = build(6, "sigmoid")
    falling = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model.compile(keras.optimizers.Adam(falling, beta_1=0.7), keras.losses.Huber(0.1), metrics=["mae"])
    return model


def averaged():
    model = build(6, "sigmoid")
    model.compile(keras.optimizers.AdamW(0.1, use_ema=True, ema_momentum=0.5, weight_decay=0.1), "mse")
    return model


def first(*arrays):
    return [array[:SAMPLES] for array in arrays]


def last(*arrays):
    return tuple(array[SAMPLES:] for array in arrays)


CASES = {
    "weighted classes": (classifier, (X, CLASSES, WEIGHTS)),
    "clipped, layer by layer": (lambda: classifier(clipnorm=0.05), (X, CLASSES)),
    "autoencoder": (autoencoder, (X,)),
    "moving average": (averaged, (X,)),
}


@pytest.mark.parametrize("case", [
    "weighted classes",
    *(pytest.param(case, marks=pytest.mark.soak) for case in ("autoencoder", "clipped, layer by layer", "moving average"))])
def test_fit_is_that_of_keras(comm, tmp_path_factory, case):
    make, arrays = CASES[case]
    folder, plain, ours = shared_folder(comm, tmp_path_factory), make(), make()
    x, y, weights = (*arrays, arrays[0], None)[:2] + ((arrays[2],) if len(arrays) > 2 else (None,))
    validation = last(*arrays) if len(arrays) > 1 else last(X, X)
    expected = plain.fit(*first(x, y), SAMPLES, EPOCHS, 0, sample_weight=None if weights is None else weights[:SAMPLES],
                         validation_data=validation, shuffle=False).history
    size, own = comm.world.size, first(*arrays)
    history = hvd_ae.fit(ours, own[0], *own[1:], comm=comm, validation=last(*arrays), epochs=EPOCHS, stall_timeout=0,
                         batch_size=SAMPLES // size, run_dir=str(folder / "run"), quiet=True)
    for found, theirs in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(found, theirs, atol=2e-5)
    names = ["loss"] if case == "moving average" else [name for name in expected if name == "loss" or name.startswith("val_")]
    assert names == ["loss"] or len(names) > 2
    for name in names:  # Keras evaluates the parameters and not their average
        np.testing.assert_allclose(history.history[name], expected[name], rtol=1e-4, err_msg=name)
    assert history.epoch == list(range(EPOCHS)) and ours.compiled and history.summary["in_sync"]
