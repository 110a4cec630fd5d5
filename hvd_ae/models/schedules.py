"""Learning rates: numbers, or Keras schedules that count the optimizer's updates."""

import math

import keras
import tensorflow as tf


def scaled_rate(learning_rate: float, scaling: str, ranks: int) -> float:
    """The learning rate for a global batch `ranks` times that of one rank.

    "linear" follows Goyal et al. 2017 (https://arxiv.org/abs/1706.02677), "sqrt" Krizhevsky 2014
    (https://arxiv.org/abs/1404.5997).
    """
    return learning_rate * {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[scaling]


class Shifted(keras.optimizers.schedules.LearningRateSchedule):
    """A Keras schedule that begins elsewhere than at the optimizer's first update.

    `shift` (int64) is added to the optimizer's count: a run that goes on with larger batches has made fewer updates than it
    would have, and is at the same part of an epoch all the same.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule):
        self.schedule = schedule
        self.shift = tf.Variable(0, dtype=tf.int64, name="shift", trainable=False)

    def __call__(self, step):
        return self.schedule(keras.ops.cast(step, "int64") + self.shift)

    def get_config(self) -> dict:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule)}


def make_schedule(learning_rate: float, scaling: str, ranks: int, warmup_epochs: float, updates_per_epoch: int):
    """The scaled rate, or the schedule of a warm-up that leads to it.

    A warm-up rises linearly from the rate of one rank (Goyal et al. 2017, section 2.2), or from 0 where nothing is scaled.
    """
    rate, updates = scaled_rate(learning_rate, scaling, ranks), round(warmup_epochs * updates_per_epoch)
    if not updates:
        return rate
    start = 0.0 if scaling == "none" else learning_rate
    return Shifted(keras.optimizers.schedules.PolynomialDecay(start, updates, rate))


def falling(learning_rate: float, epochs: int, updates_per_epoch: int):
    """A rate that falls from epoch to epoch, linearly to zero after the last."""
    boundaries = [updates_per_epoch * epoch - 1 for epoch in range(1, epochs)]  # a value holds up to its boundary
    values = [learning_rate * (1.0 - epoch / epochs) for epoch in range(epochs)]
    return Shifted(keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values))
