"""Learning rates: numbers, or Keras schedules that count the optimizer's updates."""

import math

import keras
import tensorflow as tf

from hvd_ae.settings.training import OptimizationSettings


def scaled_rate(learning_rate: float, scaling: str, ranks: int) -> float:
    """The learning rate for a global batch `ranks` times that of one rank.

    "linear" follows Goyal et al. 2017 (https://arxiv.org/abs/1706.02677), "sqrt" Krizhevsky 2014
    (https://arxiv.org/abs/1404.5997).
    """
    return learning_rate * {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[scaling]


class Shifted(keras.optimizers.schedules.LearningRateSchedule):
    """A Keras schedule that begins elsewhere than at the optimizer's first update, and can be lowered as a whole.

    `shift` (int64) is added to the optimizer's count: a run that goes on with larger batches has made fewer updates than it
    would have, and is at the same part of an epoch all the same; and a rank that had no sample in an epoch's last step has
    made fewer than the others. `factor` (float32) multiplies the rate: what is decided from validation, see `Plateau`.
    """

    def __init__(self, schedule):
        self.schedule = schedule
        self.shift = tf.Variable(0, dtype=tf.int64, name="shift", trainable=False)
        self.factor = tf.Variable(1.0, name="factor", trainable=False)

    def __call__(self, step):
        return rate_at(self.schedule, keras.ops.cast(step, "int64") + self.shift) * self.factor

    def get_config(self) -> dict:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule)}


class WarmedUp(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly from `start` to that with which `then` begins, in so many updates, and is that from there on.

    Args:
        then: a number, or a Keras schedule, which counts from the end of the rise.
    """

    def __init__(self, start: float, updates: int, then):
        self.start, self.updates, self.then = start, updates, then

    def __call__(self, step):
        rising = keras.optimizers.schedules.PolynomialDecay(self.start, self.updates, rate_at(self.then, 0))(step)
        return tf.where(step < self.updates, rising, rate_at(self.then, tf.maximum(step - self.updates, 0)))

    def get_config(self) -> dict:
        return {"start": self.start, "updates": self.updates, "then": keras.saving.serialize_keras_object(self.then)}


def rate_at(rate, step):
    """Of a number, or of a schedule."""
    return rate(step) if callable(rate) else tf.constant(rate, tf.float32)


def make_schedule(settings: OptimizationSettings, ranks: int, updates_per_epoch: int, updates: int):
    """The learning rate that the settings describe: a number where it never changes.

    A warm-up rises linearly from the rate of one rank (Goyal et al. 2017, section 2.2), or from 0 where nothing is scaled.
    What falls begins to fall when that is over. "cosine" is that of Loshchilov and Hutter 2017
    (https://arxiv.org/abs/1608.03983) without restarts; as "linear" it is 0 after the last update.

    Args:
        ranks: that train.
        updates_per_epoch: calls of the optimizer.
        updates: of the whole run.
    """
    s, schedules = settings, keras.optimizers.schedules
    rate, rise = scaled_rate(s.learning_rate, s.lr_scaling, ranks), round(s.warmup_epochs * updates_per_epoch)
    left = max(1, updates - rise)
    then = rate
    if s.schedule == "cosine":
        then = schedules.CosineDecay(rate, left)
    elif s.schedule == "linear":
        then = schedules.PolynomialDecay(rate, left, 0.0)
    elif s.schedule == "step":
        then = schedules.ExponentialDecay(rate, s.decay_epochs * updates_per_epoch, s.decay_factor, staircase=True)
    if rise:
        return Shifted(WarmedUp(0.0 if s.lr_scaling == "none" else s.learning_rate, rise, then))
    return rate if s.schedule == "constant" else Shifted(then)


def falling(learning_rate: float, epochs: int, updates_per_epoch: int):
    """A rate that falls from epoch to epoch, linearly to zero after the last."""
    boundaries = [updates_per_epoch * epoch - 1 for epoch in range(1, epochs)]  # a value holds up to its boundary
    values = [learning_rate * (1.0 - epoch / epochs) for epoch in range(epochs)]
    return Shifted(keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values))
