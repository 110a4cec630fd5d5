"""Sums over ranks with 16 bits a number on the wire, and float32 where the adding is done."""

import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator

# float16's largest number, less what rounding each addend up to float16 can add to their sum
_LARGEST_SUM = 65504.0 * (1 - 2**-10)


@tf.autograph.experimental.do_not_convert
def compressed_sum(comm: Communicator, vector: tf.Tensor, compression: str) -> tf.Tensor:
    """The sum over ranks of float32 vectors, sent as "fp16" or "bf16", or as they are with "none".

    Each rank receives its part of every rank's rounded vector, adds the parts up in float32, and sends the rounded
    sum: each number is rounded twice, however many ranks there are. With unit roundoff u (2^-11 for fp16, 2^-8 for
    bf16) the error of an element is at most u (sum of |addends| + |sum|) (1 + u).

    float16 ends at 65504. All vectors are therefore scaled by the same power of two, so that no sum can overflow, not
    even of addends that are all rounded up; what that makes smaller than float16's smallest number, 2^-24 of the largest
    possible sum, is lost. bfloat16 has the range of float32. A gradient that is not finite stays so.
    """
    if compression == "none" or comm.world.size == 1:
        return comm.sum(vector)
    dtype, size = {"fp16": tf.float16, "bf16": tf.bfloat16}[compression], comm.world.size
    scale = _common_scale(comm, vector) if compression == "fp16" else tf.constant(1.0)
    padded = tf.pad(vector * scale, [[0, -vector.shape[0] % size]])
    received = comm.all_to_all(_as_bits(tf.cast(padded, dtype)))
    parts = tf.cast(tf.reshape(tf.bitcast(received, dtype), [size, -1]), tf.float32)
    mine = tf.reduce_sum(parts, axis=0)
    total = tf.bitcast(comm.all_gather(_as_bits(tf.cast(mine, dtype)), padded.shape[0]), dtype)
    return tf.ensure_shape(tf.cast(total[: vector.shape[0]], tf.float32) / scale, vector.shape)


def _as_bits(vector: tf.Tensor) -> tf.Tensor:
    return tf.bitcast(vector, tf.uint16)


def _common_scale(comm: Communicator, vector: tf.Tensor) -> tf.Tensor:
    return fitting_scale(comm.maximum(tf.reduce_max(tf.abs(vector))[tf.newaxis])[0], comm.world.size)


def fitting_scale(largest: tf.Tensor, ranks: int) -> tf.Tensor:
    """A power of two by which numbers up to `largest`, and any sum of one from each rank, just fit into float16."""
    bound = largest * ranks
    exponent = tf.floor(tf.math.log(_LARGEST_SUM / bound) / tf.math.log(2.0))
    fits = (bound > 0) & tf.math.is_finite(bound)
    # float32 holds powers of two from 2^-126 to 2^127
    return tf.where(fits, tf.pow(2.0, tf.clip_by_value(exponent, -100.0, 100.0)), 1.0)
