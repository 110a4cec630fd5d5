"""Many training steps in one call into the graph."""

from collections.abc import Callable

import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.data.samples import Samples
from hvd_ae.models.replica import Batch


def compile_steps(strategy: Strategy, samples: Samples, of_labels: bool = False) -> Callable[..., tf.Tensor]:
    """A graph that trains on several consecutive batches.

    Returns a function of (inputs, rows, global_rows): the steps' rows one after the other, and for each step how many
    of them are its own, and how many rows all ranks have. It returns the sum of this rank's losses, a float64 scalar.
    Where the targets are labels and not the inputs, those of all the rows (int64) come last.
    """
    scale = tf.constant(samples.scale, tf.float32)
    inputs_of_steps = tf.TensorSpec([None, *samples.sample_shape], samples.row_dtype)
    rows_of_steps = tf.TensorSpec([None], tf.int32)
    labels_of_steps = [tf.TensorSpec([None], tf.int64)] if of_labels else []

    @tf.function(input_signature=[inputs_of_steps, rows_of_steps, rows_of_steps, *labels_of_steps])
    def run_steps(inputs, rows, global_batch_sizes, labels=None):
        first, loss_sum = tf.constant(0), tf.constant(0.0, tf.float64)
        for step in tf.range(tf.size(rows)):
            values = tf.cast(inputs[first : first + rows[step]], tf.float32) * scale
            targets = values if labels is None else labels[first : first + rows[step]]
            loss = strategy.step(Batch(values, targets, rows[step], global_batch_sizes[step]))
            loss_sum += tf.cast(loss, tf.float64)
            first += rows[step]
        return loss_sum

    return run_steps
