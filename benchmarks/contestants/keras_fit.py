"""Keras's own `fit`, one process with all cores, with tf.data and many steps in one call."""

from benchmarks.contestants.common import GLOBAL_BATCH, LEARNING_RATE, WIDTHS, Clock, arguments
from hvd_ae.quiet import import_tensorflow

STEPS_PER_EXECUTION = 50


def build():
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in WIDTHS[1:-1]]
    return keras.Sequential([keras.Input((WIDTHS[0],)), *layers, keras.layers.Dense(WIDTHS[-1], activation="sigmoid")])


def dataset(images, batch_size: int):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).repeat().batch(batch_size, drop_remainder=True)
    return data.map(lambda rows: (tf.cast(rows, tf.float32) / 255,) * 2, num_parallel_calls=2).prefetch(4)


if __name__ == "__main__":
    images, warm_up, steps = arguments()
    import_tensorflow()
    import keras

    model, data, clock = build(), dataset(images, GLOBAL_BATCH), Clock()
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "mse", steps_per_execution=STEPS_PER_EXECUTION)
    steps = -(-steps // STEPS_PER_EXECUTION) * STEPS_PER_EXECUTION
    model.fit(data, steps_per_epoch=STEPS_PER_EXECUTION * max(1, warm_up // STEPS_PER_EXECUTION), verbose=0)
    clock.start()
    model.fit(data, steps_per_epoch=steps, verbose=0)
    clock.say(steps * GLOBAL_BATCH)
