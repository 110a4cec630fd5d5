"""Random numbers that are a function of (seed, epoch, sample) alone, and so the same on any number of ranks (law 10)."""

import math

import numpy as np
import tensorflow as tf

from hvd_ae.data.source import EPOCH, NUMBER
from hvd_ae.tasks.task import Example

_STEP = 0x9E3779B97F4A7C15  # of SplitMix64: 2**64 over the golden ratio, odd


class Draws:
    """The draws of the samples of a batch.

    Each sample has a generator of its own, SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195):
    the n-th number of a generator is a hash of its state plus n steps, so that none needs the ones before it. The state is a
    hash of seed, epoch, number of the sample and stream.

    Args:
        seed: of the run.
        epochs, numbers: int64 (samples,).
        stream: keeps draws for several ends apart.
    """

    def __init__(self, seed: int, epochs: tf.Tensor, numbers: tf.Tensor, stream: int = 0):
        state = _hashed(tf.constant((seed + stream * _STEP) % 2**64, tf.uint64))
        state = _hashed(state + _bits(epochs))
        self._state = _hashed(state + _bits(numbers))[:, tf.newaxis]

    @classmethod
    def of(cls, example: Example, seed: int, stream: int = 0) -> "Draws | None":
        """The draws of an example; None where nothing is to be drawn."""
        return cls(seed, example[EPOCH], example[NUMBER], stream) if NUMBER in example else None

    def uniform(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Within 0 to 1, 0 included, in steps of 2**-24: float32 (samples, *shape)."""
        size = math.prod(shape)
        halves = self._halves(-(-size // 2))[:, :size]
        return tf.reshape(_as_fraction(halves), [-1, *shape])

    def normal(self, shape: tuple[int, ...]) -> tf.Tensor:
        """Of mean 0 and variance 1, float32 (samples, *shape), two from each hash (Box and Muller 1958)."""
        size = math.prod(shape)
        first, second = tf.split(_as_fraction(self._halves(-(-size // 2))), 2, axis=1)
        radius, angle = tf.sqrt(-2.0 * tf.math.log(first + 2.0**-25)), 2.0 * math.pi * second
        both = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)
        return tf.reshape(both[:, :size], [-1, *shape])

    def _halves(self, count: int) -> tf.Tensor:
        """The upper halves of `count` hashes a sample, then the lower ones: uint32 (samples, 2 * count)."""
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
        hashes = _hashed(self._state + tf.constant(steps))
        upper = tf.bitwise.right_shift(hashes, tf.constant(32, tf.uint64))
        return tf.concat([tf.cast(upper, tf.uint32), tf.cast(hashes, tf.uint32)], axis=1)


def _bits(values: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(tf.cast(values, tf.int64), tf.uint64)


def _hashed(values: tf.Tensor) -> tf.Tensor:
    """SplitMix64's mixing of 64 bits, in which each bit of the input changes each of the output with probability 1/2."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = tf.bitwise.bitwise_xor(values, tf.bitwise.right_shift(values, tf.constant(shift, tf.uint64)))
        values *= tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(values, tf.bitwise.right_shift(values, tf.constant(31, tf.uint64)))


def _as_fraction(bits: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
