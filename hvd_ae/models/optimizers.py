"""Keras optimizers by name, on one flat vector, with a learning rate that fits the number of ranks."""

import math

import keras
import tensorflow as tf

from hvd_ae.errors import Refused

# Only optimizers whose update is element-wise: on one flat vector those do just what they do layer by layer.
# LAMB, Adafactor and Muon look at each layer's norm or shape, and would compute something else.
OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "momentum": lambda learning_rate: keras.optimizers.SGD(learning_rate, momentum=0.9),
    "nesterov": lambda learning_rate: keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True),
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "lion": keras.optimizers.Lion,
}


def make_optimizer(name: str, learning_rate) -> keras.optimizers.Optimizer:
    """The optimizer of that name, Keras's defaults for everything but the learning rate.

    Raises:
        Refused: no such optimizer, or one that works layer by layer.
    """
    if name not in OPTIMIZERS:
        raise Refused(f"optimizer={name!r} is not known, or does not work element by element as a flat vector needs: "
                      f"use one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](learning_rate=learning_rate)


def scaled_rate(learning_rate: float, scaling: str, ranks: int) -> float:
    """The learning rate for a global batch `ranks` times that of one rank.

    "linear" follows Goyal et al. 2017 (https://arxiv.org/abs/1706.02677), "sqrt" Krizhevsky 2014
    (https://arxiv.org/abs/1404.5997).
    """
    return learning_rate * {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[scaling]


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from `start` to `rate` over `steps` updates, then stays (Goyal et al. 2017).

    `shift` (int64) is added to the optimizer's count: a run that goes on with larger batches has made fewer updates
    than it would have.
    """

    def __init__(self, start: float, rate: float, steps: int):
        self.start, self.rate, self.steps = start, rate, steps
        self.ring_shift = tf.Variable(0, dtype=tf.int64, name="shift", trainable=False)

    def __call__(self, step):
        counted = keras.ops.cast(step, "int64") + self.ring_shift
        progress = keras.ops.minimum(keras.ops.cast(counted, "float32") / float(self.steps), 1.0)
        return self.start + (self.rate - self.start) * progress

    def get_config(self) -> dict:
        return {"start": self.start, "rate": self.rate, "steps": self.steps}


def learning_rate_rule(learning_rate: float, scaling: str, ranks: int, warmup_steps: int):
    """A number, or the warm-up that leads to it."""
    rate = scaled_rate(learning_rate, scaling, ranks)
    return WarmUp(learning_rate, rate, warmup_steps) if warmup_steps else rate
