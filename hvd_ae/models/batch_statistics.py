"""Batch normalization by the statistics of all ranks' batches together, as if they were one large batch."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator


class BatchStatistics:
    """Mean and variance over the samples of all ranks, in the forward pass and in its gradient.

    Ioffe and Szegedy 2015 (https://arxiv.org/abs/1502.03167) normalize by one batch; in data-parallel training each rank
    would use its own. Sums are all-reduced within the graph: first of the values, then of the squared distances from the
    mean, as one process computes a variance. Every rank takes part in each of them, in the same order, a rank without a
    sample too.

    Keras's own `synchronized=True` asks `tf.distribute`, which knows of no other rank here.
    """

    def __init__(self, comm: Communicator):
        self._comm = comm
        self._last: tf.Tensor | None = None  # collective of the graph that is being traced
        self.counts_own: tf.Tensor | float = 1.0  # 0 where this rank's batch is a stand-in for none

    @contextlib.contextmanager
    def used_by(self, model: keras.Model) -> Iterator[None]:
        """While the context lasts, the model's batch normalizations compute with these moments when they train."""
        layers = batch_normalizations(model)
        for layer in layers:
            vars(layer)["_moments"] = lambda inputs, mask, layer=layer: self._moments(layer, inputs, mask)
        try:
            yield
        finally:
            for layer in layers:
                del vars(layer)["_moments"]

    def _moments(self, layer: keras.layers.BatchNormalization, inputs: tf.Tensor, mask) -> tuple[tf.Tensor, tf.Tensor]:
        """Of each channel, (channels,)."""
        axes, channels = layer._reduction_axes, inputs.shape[layer.axis]
        if mask is None:
            counted = tf.ones_like(inputs)
        else:
            counted = tf.broadcast_to(tf.cast(mask, inputs.dtype)[..., tf.newaxis], tf.shape(inputs))
        counted *= self.counts_own
        own = tf.concat([tf.reduce_sum(inputs * counted, axes), tf.reduce_sum(counted, axes)], axis=0)
        total, count = tf.split(self._sum(own), 2)
        mean, shape = total / tf.maximum(count, 1.0), [1] * inputs.shape.rank
        shape[layer.axis] = channels
        distances = tf.math.squared_difference(inputs, tf.reshape(mean, shape)) * counted
        return mean, self._sum(tf.reduce_sum(distances, axes)) / tf.maximum(count, 1.0)

    def _sum(self, vector: tf.Tensor) -> tf.Tensor:
        """The sum over ranks; its gradient is the sum of theirs, since what each rank minimizes depends on it."""

        @tf.custom_gradient
        def summed(own):
            return self._in_order(own), self._in_order

        return summed(vector)

    def _in_order(self, vector: tf.Tensor) -> tf.Tensor:
        """After the last collective of this graph: layers beside each other have no order of their own."""
        graph = getattr(vector, "graph", None)  # none where nothing is traced
        last = self._last if graph is not None and getattr(self._last, "graph", None) is graph else None
        with tf.control_dependencies([] if last is None else [last]):
            self._last = tf.ensure_shape(self._comm.sum(tf.identity(vector)), vector.shape)
        return self._last


def batch_normalizations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The layers of a model, and of models in it, that normalize by a batch."""
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
