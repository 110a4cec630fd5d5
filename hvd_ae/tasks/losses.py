"""Losses, one number a sample, so that every mean over ranks can be a mean over samples."""

import keras
import tensorflow as tf


def squared_error(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Mean squared error of each sample, shape (samples,)."""
    return tf.reduce_mean(tf.math.squared_difference(_as_vectors(targets), _as_vectors(outputs)), axis=-1)


def binary_crossentropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of each sample in nats a feature, shape (samples,); targets and outputs within 0 to 1."""
    return keras.losses.binary_crossentropy(_as_vectors(targets), _as_vectors(outputs))


def label_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each sample in nats, shape (samples,); labels are (samples,) int64, and the softmax is taken here."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def _as_vectors(values: tf.Tensor) -> tf.Tensor:
    """(samples, features) float32, whatever the layers computed in."""
    return tf.cast(tf.reshape(values, [tf.shape(values)[0], -1]), tf.float32)


LOSSES = {"mse": squared_error, "bce": binary_crossentropy}
