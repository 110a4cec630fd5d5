"""Losses, one number a sample, so that every mean over ranks can be a mean over samples.

Where values may be missing, targets hold NaN in their places, and a sample's loss is the mean over the features that are
there: what is missing reaches neither a loss nor a gradient, and a feature that is there counts more the fewer there are. A
sample of which nothing is there has a loss of 0. In a validation mean it is not counted; in training it is one of the
samples that a batch's gradient and `train_loss` are divided by, since all ranks know that number without a word.
"""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def squared_error(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Mean squared error of each sample, shape (samples,)."""
    return tf.reduce_mean(tf.math.squared_difference(_as_vectors(targets), _as_vectors(outputs)), axis=-1)


def binary_crossentropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of each sample in nats a feature, shape (samples,); targets and outputs within 0 to 1."""
    return keras.losses.binary_crossentropy(_as_vectors(targets), _as_vectors(outputs))


def label_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each sample in nats, shape (samples,); labels are (samples,) int64, and the softmax is taken here."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def squared_error_of_present(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """As `squared_error`, of the targets that are not NaN."""
    return _mean_of_present(tf.math.squared_difference, targets, outputs)


def binary_crossentropy_of_present(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """As `binary_crossentropy`, of the targets that are not NaN."""
    return _mean_of_present(keras.ops.binary_crossentropy, targets, outputs)


def _mean_of_present(of_each: Loss, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    targets, outputs = _as_vectors(targets), _as_vectors(outputs)
    there = ~tf.math.is_nan(targets)
    # before and after: the gradient of what is left out would be NaN times 0
    losses = tf.where(there, of_each(tf.where(there, targets, 0.0), outputs), 0.0)
    return tf.reduce_sum(losses, axis=-1) / tf.maximum(_count(there), 1.0)


def is_any_present(targets: tf.Tensor) -> tf.Tensor:
    """Whether anything of a sample is there, as 1 or 0, float32 (samples,)."""
    if not targets.dtype.is_floating:
        return tf.ones(tf.shape(targets)[:1])
    return tf.minimum(_count(~tf.math.is_nan(_as_vectors(targets))), 1.0)


def _count(there: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(there, tf.float32), axis=-1)


def _as_vectors(values: tf.Tensor) -> tf.Tensor:
    """(samples, features) float32, whatever the layers computed in."""
    return tf.cast(tf.reshape(values, [tf.shape(values)[0], -1]), tf.float32)


LOSSES = {"mse": squared_error, "bce": binary_crossentropy}
_OF_PRESENT = {"mse": squared_error_of_present, "bce": binary_crossentropy_of_present}


def losses_for(missing: str) -> Mapping[str, Loss]:
    """By name, where values may be missing and where not (`missing` is "refuse")."""
    return LOSSES if missing == "refuse" else _OF_PRESENT
