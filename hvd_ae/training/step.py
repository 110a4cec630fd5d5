"""Many training steps in one call into the graph."""

from collections.abc import Callable

import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.data.source import Source
from hvd_ae.models.learner import Batch
from hvd_ae.tasks.task import Task, inputs_and_targets, specs_for


def compile_steps(strategy: Strategy, source: Source, task: Task) -> Callable[..., tf.Tensor]:
    """A graph that trains on several consecutive batches.

    Returns a function of (example, batch_sizes, global_batch_sizes): by field, the samples of all steps one after the other,
    and for each step how many of them are its own, and how many all ranks have. It returns the sum of this rank's losses, a
    float64 scalar.
    """
    sizes = tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[specs_for(task, source.fields), sizes, sizes])
    def run_steps(example, batch_sizes, global_batch_sizes):
        first, loss_sum = tf.constant(0), tf.constant(0.0, tf.float64)
        for step in tf.range(tf.size(batch_sizes)):
            own = {name: values[first : first + batch_sizes[step]] for name, values in example.items()}
            inputs, targets = inputs_and_targets(task, own, source.fields)
            loss = strategy.step(Batch(inputs, targets, batch_sizes[step], global_batch_sizes[step]))
            loss_sum += tf.cast(loss, tf.float64)
            first += batch_sizes[step]
        return loss_sum

    return run_steps
