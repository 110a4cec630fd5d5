"""Losses and measures against SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.metrics import r2_score

from hvd_ae.tasks.losses import LOSSES, OF_EACH, loss_for, losses_for, nats_for
from hvd_ae.tasks.measures import CORRELATION, R2

RANDOM = np.random.default_rng(4)
COUNTS = RANDOM.poisson(3.0, (6, 2, 4)).astype(np.float32)
MEAN, DISPERSION = (RANDOM.uniform(0.5, 6.0, COUNTS.shape).astype(np.float32) for _ in range(2))
LOGIT = RANDOM.normal(size=COUNTS.shape).astype(np.float32)
VALUES, OUTPUTS = RANDOM.random(COUNTS.shape).astype(np.float32), RANDOM.uniform(0.1, 0.9, COUNTS.shape).astype(np.float32)


def log_probabilities(name: str) -> np.ndarray:
    """Of each value, by SciPy."""
    of_counts = stats.nbinom(DISPERSION, DISPERSION / (DISPERSION + MEAN))
    lost = 1 / (1 + np.exp(-LOGIT))
    return {
        "mse": lambda: stats.norm(OUTPUTS, 1.0).logpdf(VALUES),
        "mae": lambda: stats.laplace(OUTPUTS, 1.0).logpdf(VALUES),
        "poisson": lambda: stats.poisson(MEAN).logpmf(COUNTS),
        "nb": lambda: of_counts.logpmf(COUNTS),
        "zinb": lambda: np.log(np.where(COUNTS == 0, lost, 0.0) + (1 - lost) * of_counts.pmf(COUNTS)),
        "bce": lambda: stats.bernoulli(OUTPUTS).logpmf(np.round(VALUES)),
    }[name]()


def given(name: str):
    if name in ("poisson", "nb", "zinb"):
        outputs = {"output": tf.constant(MEAN), "dispersion": tf.constant(DISPERSION), "dropout": tf.constant(LOGIT)}
        return COUNTS, outputs["output"] if name == "poisson" else outputs
    return np.round(VALUES) if name == "bce" else VALUES, tf.constant(OUTPUTS)


@pytest.mark.parametrize("name", [name for name in OF_EACH if name != "huber"])
def test_nats_are_those_of_scipy(name):
    targets, outputs = given(name)
    expected = -log_probabilities(name).sum(axis=(1, 2))
    np.testing.assert_allclose(nats_for(name)(tf.constant(targets), outputs), expected, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_missing_counts_nowhere(name):
    targets, outputs = given(name)
    holes = np.where(RANDOM.random(targets.shape) < 0.4, np.nan, targets).astype(np.float32)
    of_each = {"mse": lambda: (targets - OUTPUTS) ** 2, "mae": lambda: np.abs(targets - OUTPUTS),
               "huber": lambda: (targets - OUTPUTS) ** 2 / 2}.get(name, lambda: -log_probabilities(name))()
    there = ~np.isnan(holes)
    expected = np.where(there, of_each, 0).sum(axis=(1, 2)) / there.sum(axis=(1, 2))
    np.testing.assert_allclose(losses_for("mean")[name](tf.constant(holes), outputs), expected, rtol=1e-4)
    np.testing.assert_allclose(losses_for("refuse")[name](tf.constant(targets), outputs), of_each.mean(axis=(1, 2)), rtol=1e-4)


def test_huber_is_linear_far_away():
    found = LOSSES["huber"](tf.constant([[0.0, 0.0]]), tf.constant([[3.0, -0.5]]))
    assert float(found[0]) == pytest.approx((2.5 + 0.125) / 2)


def distance(targets, outputs):
    """Of pictures, one number a row, as a user may write it."""
    return tf.reduce_max(tf.abs(targets - outputs), axis=-1)


def test_a_users_loss_is_averaged_over_what_it_gives_of_a_sample():
    path = "tests.unit.test_losses:distance"
    expected = np.abs(VALUES - OUTPUTS).max(axis=-1)
    found = loss_for(path, "refuse")(tf.constant(VALUES), tf.constant(OUTPUTS))
    np.testing.assert_allclose(found, expected.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(nats_for(path)(tf.constant(VALUES), {"output": tf.constant(OUTPUTS), "mean": 0.0}),
                               expected.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_measures_are_those_of_scikit_learn_and_scipy(offset):
    """Far from 0 too, where a difference of squares in float32 would be noise."""
    targets = VALUES + np.float32(offset)
    outputs = targets + RANDOM.normal(scale=0.1, size=targets.shape).astype(np.float32)
    flat = targets.reshape(len(targets), -1).astype(float), outputs.reshape(len(outputs), -1).astype(float)
    expected = r2_score(*flat, multioutput="variance_weighted"), stats.pearsonr(flat[0].ravel(), flat[1].ravel()).statistic
    for measure, value in zip((R2, CORRELATION), expected):
        means = measure.of_samples(tf.constant(targets), tf.constant(outputs)).numpy().mean(axis=0)
        assert measure.result(means) == pytest.approx(value, rel=1e-5)


def test_measures_of_what_never_changes_are_none():
    same = tf.ones([4, 3])
    means = R2.of_samples(same, same).numpy().mean(axis=0)
    assert math.isnan(R2.result(means)) and math.isnan(CORRELATION.result(means))
