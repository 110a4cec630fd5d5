"""What is reported of validation samples, beside the loss: all of it is made of means over samples, on any number of ranks."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hvd_ae.tasks.losses import as_vectors


class Measure(NamedTuple):
    """A number that is no mean over samples itself, but is made of such means.

    of_samples: in the graph, from targets and outputs to several numbers a sample, (samples, numbers).
    result: from their means over the samples, float64 (numbers,), to the number; NaN where there is none.
    """

    of_samples: Callable[..., tf.Tensor]
    result: Callable[[np.ndarray], float]


def _moments(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Of what is there of each sample, float64: for each feature how many, and the target; squares and products of all."""
    targets, outputs = (tf.cast(as_vectors(values), tf.float64) for values in (targets, outputs))
    is_there = ~tf.math.is_nan(targets)
    there = tf.cast(is_there, tf.float64)
    targets, outputs = tf.where(is_there, targets, 0.0), tf.where(is_there, outputs, 0.0)
    sums = [tf.reduce_sum(each, axis=-1, keepdims=True)
            for each in (outputs, targets * targets, outputs * outputs, targets * outputs)]
    return tf.concat([there, targets, *sums], axis=-1)


def _parts(means: np.ndarray) -> tuple:
    features = (len(means) - 4) // 2
    return means[:features], means[features : 2 * features], *means[2 * features :]


def _r2(means: np.ndarray) -> float:
    there, targets, _, squares, of_outputs, products = _parts(means)
    around_means = squares - np.sum(np.divide(targets**2, there, out=np.zeros_like(there), where=there > 0))
    return float(1.0 - (squares - 2.0 * products + of_outputs) / around_means) if around_means > 0 else math.nan


def _correlation(means: np.ndarray) -> float:
    there, targets, outputs, squares, of_outputs, products = _parts(means)
    values, targets = there.sum(), targets.sum()
    spreads = (squares * values - targets**2) * (of_outputs * values - outputs**2)
    return float((products * values - targets * outputs) / math.sqrt(spreads)) if spreads > 0 else math.nan


# scikit-learn's r2_score(targets, outputs, multioutput="variance_weighted"): what part of the variance around each
# feature's mean is given back
R2 = Measure(_moments, _r2)
# SciPy's pearsonr of all values of all samples, one after the other
CORRELATION = Measure(_moments, _correlation)
