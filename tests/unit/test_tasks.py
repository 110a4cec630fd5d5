"""What tasks learn, on one rank: against what theory says, plain Keras, or the distribution that data were drawn from."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import hvd_ae
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.data.arrays import ArraySource, from_arrays
from hvd_ae.data.source import LABELS, SAMPLES, TARGETS, Field, Splits
from hvd_ae.errors import Refused
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.tasks.reconstruction import Reconstruction
from hvd_ae.training.session import Session

RANDOM = np.random.default_rng(8)


@pytest.fixture(autouse=True)
def same_data_whatever_ran_before(monkeypatch):
    monkeypatch.setitem(globals(), "RANDOM", np.random.default_rng(8))


def splits(validation: int, **fields) -> Splits:
    """Arrays by field, the last samples kept for validation."""
    declared = {name: Field.of_classes(array) if name == LABELS else Field.of_values(array) for name, array in fields.items()}
    cut = len(fields[SAMPLES]) - validation
    return Splits(*(ArraySource(name, {field: array[part] for field, array in fields.items()}, declared)
                    for name, part in (("train", slice(cut)), ("validation", slice(cut, None)))))


def trained(source, **given) -> tuple[Session, dict]:
    """A finished session on one rank, and the figures of its last epoch."""
    settings = TrainSettings(**given).resolved()
    with Session(settings, SingleCommunicator(), source) as session:
        reports = session.run()
    return session, reports[-1].record()


def outputs(session, inputs):
    return session.learner.flat.outputs(*session.strategy.result, session.strategy.result_counters, inputs)


def linear(sample_shape):
    return keras.Sequential([keras.Input(sample_shape), keras.layers.Dense(sample_shape[0], use_bias=False)])


@pytest.mark.soak
def test_denoising_beats_reconstruction_by_what_the_noise_says():
    """Linear models: reconstruction comes to the identity, which leaves the noise; denoising to Wiener's filter."""
    features, noise = 12, 0.5
    mixing = RANDOM.normal(size=(2, features)) / np.sqrt(2)
    samples = (RANDOM.normal(size=(2000, 2)) @ mixing + 0.3 * RANDOM.normal(size=(2000, features))).astype(np.float32)
    source = splits(1000, samples=samples)
    common = {"model": "tests.unit.test_tasks:linear", "batch_size": 50, "epochs": 60, "learning_rate": 0.01}
    _, denoised = trained(source, task="denoising", noise=f"gaussian:{noise}", **common)
    session, plain = trained(source, **common)
    noisy = samples[1000:] + noise * RANDOM.normal(size=(1000, features)).astype(np.float32)
    of_plain = float(np.mean((outputs(session, noisy) - samples[1000:]) ** 2))
    spread = np.linalg.eigvalsh(mixing.T @ mixing + 0.09 * np.eye(features))
    of_filter = float(np.mean(spread * noise**2 / (spread + noise**2)))
    assert plain["val_mse"] < 0.02
    assert of_plain == pytest.approx(noise**2, rel=0.15)
    assert of_filter <= denoised["val_mse"] * 1.1 and denoised["val_mse"] < 1.25 * of_filter
    assert denoised["val_mse"] < of_plain - 0.8 * (noise**2 - of_filter)
    assert denoised["val_loss"] == pytest.approx(denoised["val_mse"])


@pytest.mark.parametrize("noise, changed", [("mask:0.3", 0.3), ("salt:0.2", 0.2), ("gaussian:0.5", 1.0)])
def test_noise_is_as_much_as_is_asked_for(noise, changed):
    task = task_of(TrainSettings(task="denoising", noise=noise).resolved())
    samples = tf.constant(RANDOM.uniform(0.2, 0.8, (300, 50)).astype(np.float32))
    counters = {"sample number": tf.range(300, dtype=tf.int64), "epoch": tf.zeros(300, tf.int64)}
    inputs, targets = task.select({SAMPLES: samples, **counters})
    np.testing.assert_array_equal(targets, samples)
    difference = inputs.numpy() - samples.numpy()
    assert np.mean(difference != 0) == pytest.approx(changed, abs=0.02)
    if noise == "gaussian:0.5":
        assert difference.std() == pytest.approx(0.5, rel=0.02)
    else:
        values = {0.0} if noise == "mask:0.3" else {0.0, 1.0}
        assert set(inputs.numpy()[difference != 0]) == values
    np.testing.assert_array_equal(task.select({SAMPLES: samples})[0], samples)  # a saved model is given what there is


def test_measured_pairs_are_given_and_compared_with():
    clean = RANDOM.normal(size=(600, 6)).astype(np.float32)
    noisy = 3.0 * clean + 1.0
    session, record = trained(splits(100, samples=noisy, targets=clean), task="denoising", targets="clean", epochs=30,
                              model="tests.unit.test_tasks:linear", batch_size=50, learning_rate=0.02, normalize="standard")
    assert record["val_r2"] > 0.98
    assert session.task.output_field == TARGETS and session.task.finished(session.learner.flat.keras_model).keys() >= {"model"}


def test_zero_inflated_counts_give_back_what_they_were_drawn_from():
    """Counts of the model's own kind: a mean, a dispersion and a probability of dropping out for each feature."""
    mean, dispersion, dropout = np.array([2.0, 6.0, 15.0]), np.array([1.5, 4.0, 2.5]), np.array([0.1, 0.3, 0.5])
    counts = RANDOM.negative_binomial(dispersion, dispersion / (dispersion + mean), (8000, 3))
    counts = np.where(RANDOM.random(counts.shape) < dropout, 0, counts).astype(np.float32)
    session, record = trained(splits(1000, samples=counts), loss="zinb", normalize="log1p", batch_size=200, epochs=25,
                              learning_rate=0.03, model="tests.unit.test_tasks:constant")
    found = outputs(session, np.zeros((1, 3), np.float32))
    np.testing.assert_allclose(found["output"][0], mean, rtol=0.1)
    np.testing.assert_allclose(found["dispersion"][0], dispersion, rtol=0.25)
    np.testing.assert_allclose(tf.sigmoid(found["dropout"])[0], dropout, atol=0.06)
    assert record["val_mse"] == pytest.approx(np.mean((counts[7000:] - found["output"][0]) ** 2), rel=1e-3)  # of raw counts


def constant(sample_shape):
    """Outputs that look at no input."""
    given = keras.Input(sample_shape)
    nothing = keras.layers.Rescaling(0.0)(given)
    heads = {name: keras.layers.Dense(sample_shape[0], name=name)(nothing) for name in ("output", "dispersion", "dropout")}
    return keras.Model(given, {**heads, **{name: keras.ops.exp(heads[name]) for name in ("output", "dispersion")}})


SMALL = {"widths": "24", "code": 4, "model": "dense", "batch_size": 64, "learning_rate": 0.003}


class Sampling(keras.layers.Layer):
    """As the Keras documentation has it: draws, and adds the divergence to the loss."""

    def __init__(self, **given):
        super().__init__(**given)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, log_variance = inputs
        self.add_loss(-0.5 * keras.ops.mean(keras.ops.sum(1 + log_variance - mean**2 - keras.ops.exp(log_variance), axis=1)))
        return mean + keras.ops.exp(0.5 * log_variance) * keras.random.normal(keras.ops.shape(mean), seed=self.seed)


def plain_variational(train: np.ndarray, validation: np.ndarray, epochs: int) -> float:
    """The bound that plain Keras comes to, by `compile` and `fit`, of the same layers."""
    keras.utils.set_random_seed(3)
    dense, given = keras.layers.Dense, keras.Input((64,))
    hidden = dense(24, "relu")(given)
    code = Sampling()([dense(4)(hidden), dense(4)(hidden)])
    model = keras.Model(given, dense(64, "sigmoid")(dense(24, "relu")(code)))
    model.compile(keras.optimizers.Adam(0.003), lambda x, y: 64.0 * keras.losses.binary_crossentropy(x, y))
    model.fit(train, train, batch_size=64, epochs=epochs, verbose=0)
    return -float(np.mean([model.evaluate(validation, validation, verbose=0) for _ in range(3)]))


def test_variational_against_plain_keras():
    from hvd_ae.data.digits import load

    source = load("digits", 0)
    session, record = trained(source, task="variational", loss="bce", epochs=20, **SMALL)
    train, validation = (part.seen(np.arange(part.count)).reshape(-1, 64) for part in (source.train, source.validation))
    expected = plain_variational(train, validation, 20)
    assert record["val_elbo"] == pytest.approx(expected, rel=0.02)
    assert record["val_elbo"] == pytest.approx(-record["val_reconstruction"] - record["val_kl"])
    assert record["val_loss"] == pytest.approx(-record["val_elbo"])
    assert record["val_active_units"] == 4 and record["val_r2"] > 0.4


def test_what_is_reported_of_a_gaussian_code_follows_its_formulas():
    """One epoch that moves nothing: beta and free bits in the loss, and neither in the bound."""
    samples = RANDOM.random((64, 5)).astype(np.float32)
    session, record = trained(splits(32, samples=samples), task="variational", beta=3.0, free_bits=0.3, beta_warmup=4.0,
                              learning_rate=1e-12, epochs=1, batch_size=32, widths="6", code=3, model="dense")
    seen = samples[32:]
    found = outputs(session, {"sample": seen, "noise": np.zeros((32, 3), np.float32)})
    mean, log_variance = found["mean"].numpy(), found["log_variance"].numpy()
    each = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    assert record["val_kl"] == pytest.approx(each.sum(axis=1).mean(), rel=1e-4)
    weighed = 3.0 * np.maximum(each, 0.3).sum(axis=1).mean()
    assert record["val_loss"] == pytest.approx(record["val_reconstruction"] + weighed, rel=1e-5)
    assert record["train_loss"] < record["val_loss"] - 0.5 * weighed  # in the first of the epochs of warming up it weighs 0
    assert record["val_active_units"] == np.sum(mean.var(axis=0) > 0.01)
    assert record["val_mse"] == pytest.approx(float(np.mean((found["output"] - seen) ** 2)), rel=1e-5)


BY_KERAS = """
import json, sys
import keras, numpy as np
folder, (sample, condition) = sys.argv[1], np.load(sys.argv[1] + "/given.npz").values()
assert "hvd_ae" not in sys.modules
load = lambda name: keras.saving.load_model(folder + "/" + name + ".keras")
encoder, decoder, model = map(load, ("encoder", "decoder", "model"))
encoded = encoder({"sample": sample, "condition": condition})
decoded = decoder({"code": np.asarray(encoded["mean"]), "condition": condition})
assert sorted(encoded) == ["log_variance", "mean"] and encoded["log_variance"].shape == (len(sample), 3)
print(json.dumps([float(np.mean((np.asarray(decoded) - sample) ** 2)),
                  float(np.mean((np.asarray(model({"sample": sample, "condition": condition})) - sample) ** 2))]))
"""


def test_saved_parts_are_plain_keras_and_take_raw_units(tmp_path):
    """In a process that has never heard of this package: condition, normalization and codes that are drawn, all at once."""
    condition = RANDOM.normal(5.0, 3.0, size=(200, 2)).astype(np.float32)
    samples = (100.0 + 20.0 * condition @ RANDOM.normal(size=(2, 7))).astype(np.float32)
    result = hvd_ae.train(
        TrainSettings(task="variational", condition="beside", normalize="standard", epochs=2, collectives="single",
                      run_dir=str(tmp_path / "run"), widths="8", code=3, model="dense", batch_size=20),
        source=splits(50, samples=samples, condition=condition))
    np.savez(tmp_path / "run" / "given.npz", sample=samples[150:], condition=condition[150:])
    said = subprocess.run([sys.executable, "-c", BY_KERAS, str(tmp_path / "run")], capture_output=True, text=True, cwd="/",
                          timeout=120)
    halves, whole = json.loads(said.stdout.splitlines()[-1])
    assert halves == pytest.approx(whole, rel=1e-5) and whole == pytest.approx(result.summary["val_mse"], rel=1e-4)


def test_supervised_and_classification():
    samples = RANDOM.normal(size=(900, 6)).astype(np.float32)
    labels = np.argmax(samples[:, :3], axis=1)
    source = splits(300, samples=samples, targets=samples[:, :4].reshape(-1, 2, 2) * 7 + 2, labels=labels)
    common = {"model": "dense", "widths": "32", "code": 8, "batch_size": 50, "learning_rate": 0.01, "epochs": 12}
    session, record = trained(source, task="supervised", normalize="standard", **common)
    assert record["val_r2"] > 0.9 and session.learner.flat.keras_model.output_shape == (None, 2, 2)
    session, record = trained(source, task="classification", **common)
    assert record["val_accuracy"] > 0.9 and record["val_mse"] is None
    assert sorted(session.task.finished(session.learner.flat.keras_model)) == ["encoder", "model"]


def test_a_penalty_on_codes_makes_them_sparse():
    samples = RANDOM.random((200, 8)).astype(np.float32)
    common = {"model": "dense", "widths": "16", "code": 6, "batch_size": 20, "epochs": 10, "learning_rate": 0.01}
    session, sparse = trained(splits(50, samples=samples), code_l1=0.05, **common)
    assert sparse["val_loss"] == pytest.approx(sparse["val_reconstruction"] + 0.05 * sparse["val_code_l1"], rel=1e-5)
    codes = outputs(session, samples[150:])["code"]
    assert sparse["val_code_l1"] == pytest.approx(float(np.abs(codes).sum(axis=1).mean()), rel=1e-4)
    assert sparse["val_code_l1"] < 0.3


def test_labels_as_a_condition_are_given_as_classes():
    samples, labels = RANDOM.random((60, 5)).astype(np.float32), np.arange(60) % 4
    session, record = trained(splits(20, samples=samples, labels=labels), condition="labels", epochs=1, batch_size=20, **{
        name: SMALL[name] for name in ("model", "widths", "code")})
    model = session.learner.flat.keras_model
    assert model.input["condition"].dtype == "int32" and session.task.fields == (SAMPLES, LABELS)
    assert np.isfinite(record["val_loss"])


class Contrast(Reconstruction):
    """A user's own task."""


def no_task(settings):
    return 3


@pytest.mark.parametrize("given, sentence", [
    ({"task": "magic"}, "task='magic' is not known: use one of reconstruction, denoising"),
    ({"task": "tests.unit.test_tasks:no_task"}, "returned int: it must return a hvd_ae.tasks.task.Task"),
    ({"task": "tests.unit.test_tasks:absent"}, "has no function 'absent'"),
    ({"loss": "magic"}, "loss='magic' is not known: use one of mse, mae"),
    ({"task": "denoising"}, "task='denoising' needs noise to take away"),
    ({"task": "denoising", "noise": "mask:1.5"}, "noise='mask:1.5' is not understood"),
    ({"task": "denoising", "noise": "fog:0.5"}, "noise='fog:0.5' is not understood"),
    ({"noise": "mask:0.5"}, "noise=mask:0.5 has no effect with task='reconstruction': drop it, or use task='denoising'"),
    ({"beta": 2.0}, "beta=2.0 has no effect with task='reconstruction': drop it, or use task='variational'"),
    ({"task": "variational", "loss": "huber"}, "loss='huber' is no probability"),
    ({"task": "variational", "beta": -1.0}, "beta=-1.0 must be at least 0"),
    ({"task": "classification", "loss": "mae"}, "loss='mae' has no effect with task='classification'"),
    ({"widths": "3"}, "widths=3 has no effect with model='deep': drop it, or use model='dense' or 'conv'"),
    ({"model": "dense", "widths": "3,x"}, "widths='3,x' are no whole numbers"),
    ({"model": "conv", "batch_norm": True, "group_norm": True}, "batch_norm=True has no effect with group_norm=True"),
    ({"loss": "nb", "output_activation": "sigmoid"}, "output_activation='sigmoid' has no effect with loss='nb'"),
    ({"loss": "poisson", "normalize": "standard"}, "but loss='poisson' is of counts, which are never below 0"),
    ({"targets": "clean"}, "targets='clean' has no effect with this task"),
    ({"task": "supervised"}, "has no targets, which are needed here"),
    ({"condition": "labels"}, "has no labels, which are needed here"),
])
def test_what_cannot_be_learnt_is_refused_in_a_sentence(given, sentence):
    source = splits(5, samples=RANDOM.normal(size=(30, 4)).astype(np.float32))
    with pytest.raises(Refused) as refusal:
        Session(TrainSettings(**given).resolved(), SingleCommunicator(), source)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_bytes_are_no_counts():
    source = Splits(*(from_arrays("bytes", np.full((10, 4), 3, np.uint8)) for _ in range(2)))
    with pytest.raises(Refused, match="these samples are bytes, which become 0 to 1 here"):
        Session(TrainSettings(loss="nb").resolved(), SingleCommunicator(), source)


def test_labels_that_are_no_classes_are_refused():
    source = splits(5, samples=RANDOM.random((30, 4)).astype(np.float32), labels=np.arange(30) - 1)
    with pytest.raises(Refused, match="has labels from -1 to 28: classes are numbered from 0"):
        Session(TrainSettings(task="classification").resolved(), SingleCommunicator(), source)


def test_a_users_task_is_given_the_settings():
    settings = TrainSettings(task="tests.unit.test_tasks:Contrast", beta=2.0).resolved()
    assert type(task_of(settings)).__name__ == "Contrast" and settings.beta == 2.0


