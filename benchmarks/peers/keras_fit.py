"""Keras's own `fit`, one process with all cores, with tf.data as its performance guide says, and many steps in one call.

Settings: steps, steps_per_execution; jit=0/1 (jit_compile; Keras's own choice where it is not given); precision=float32 or
bfloat16 (the policy mixed_bfloat16, outputs in float32).
"""

import time

from benchmarks.peers.common import GLOBAL_BATCH, LEARNING_RATE, WIDTHS, Given, given, say
from hvd_ae.runtime.tensorflow_setup import import_tensorflow


def build():
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in WIDTHS[1:-1]]
    return keras.Sequential([keras.Input((WIDTHS[0],)), *layers, keras.layers.Dense(WIDTHS[-1]),
                             keras.layers.Activation("sigmoid", dtype="float32")])


def dataset(told: Given, samples, batch_size: int):
    """(batch, batch), shuffled anew every epoch, for ever."""
    import tensorflow as tf

    def pair(rows):
        values = tf.cast(rows, tf.float32) * told.scale
        return values, values

    data = tf.data.Dataset.from_tensor_slices(samples).shuffle(len(samples)).repeat()
    return data.batch(batch_size, drop_remainder=True).map(pair, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def fit(model, data, told: Given, steps: int, speaks: bool = True) -> None:
    """Short epochs to warm up, then a long one that takes about the time that is to be measured."""
    started = time.perf_counter()
    model.fit(data, steps_per_epoch=steps, verbose=0)  # traces
    of_steps = None
    while of_steps is None or time.perf_counter() - started < told.warm_up:
        timed = time.perf_counter()
        model.fit(data, steps_per_epoch=steps, verbose=0)
        of_steps = time.perf_counter() - timed
    calls = max(1, round(told.seconds / of_steps))
    timed = time.perf_counter()
    model.fit(data, steps_per_epoch=steps * calls, verbose=0)
    if speaks:
        say(steps * calls * GLOBAL_BATCH, time.perf_counter() - timed)


if __name__ == "__main__":
    told = given()
    import_tensorflow()
    import keras

    if told.settings.get("precision") == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model, steps = build(), int(told.settings.get("steps", 50))
    jit = {"0": False, "1": True}.get(told.settings.get("jit"), "auto")
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "mse", steps_per_execution=steps, jit_compile=jit)
    fit(model, dataset(told, told.samples, GLOBAL_BATCH), told, steps)
