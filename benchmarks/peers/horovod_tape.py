"""Horovod's own way for TensorFlow 2: a gradient tape, an all-reduce for each variable, after its `tensorflow2_mnist.py`.

`hvd.DistributedGradientTape` fails on Keras 3, so what it does is written out: `hvd.allreduce` of each gradient inside the
step's `tf.function`, with Horovod's tensor fusion at its default.
Settings: cycle, HOROVOD_CYCLE_TIME in milliseconds (its default is 1).
"""

import os

from benchmarks.peers.common import GLOBAL_BATCH, LEARNING_RATE, Clock, given
from benchmarks.peers.keras_fit import build, dataset
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_ASK_EVERY = 20  # steps


def main() -> None:
    told = given()
    os.environ["HOROVOD_CYCLE_TIME"] = told.settings.get("cycle", "1")
    import_tensorflow()
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    hvd.init()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)  # the communication waits in a thread of its own
    model, optimizer = build(), keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(hvd.broadcast(variable.value, 0, name=f"start.{variable.path}"))

    @tf.function
    def step(batch, target):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(batch, training=True) - target))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        gradients = [hvd.allreduce(gradient, op=hvd.Average, name=f"gradient.{number}")
                     for number, gradient in enumerate(gradients)]
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    clock = Clock(told)
    data = dataset(told, told.samples[hvd.rank() :: hvd.size()], GLOBAL_BATCH // hvd.size())
    for number, (batch, target) in enumerate(data, start=1):
        step(batch, target)
        if number % _ASK_EVERY == 0:  # rank 0's clock decides for all
            over = float(clock.over(_ASK_EVERY * GLOBAL_BATCH))
            if hvd.broadcast(tf.constant([over]), 0, name="over").numpy()[0]:
                break
    if hvd.rank() == 0:
        clock.say()
    hvd.shutdown()


if __name__ == "__main__":
    main()
