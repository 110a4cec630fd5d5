"""Horovod as its guide writes it: a gradient tape, an all-reduce for each variable. Its own tape wrapper fails on Keras 3."""

from benchmarks.contestants.common import GLOBAL_BATCH, LEARNING_RATE, Clock, arguments
from benchmarks.contestants.keras_fit import build, dataset
from hvd_ae.quiet import import_tensorflow

if __name__ == "__main__":
    images, warm_up, steps = arguments()
    import_tensorflow()
    import horovod.tensorflow as hvd
    import keras
    import tensorflow as tf

    hvd.init()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
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

    clock = Clock()
    data = dataset(images[hvd.rank() :: hvd.size()], GLOBAL_BATCH // hvd.size()).take(warm_up + steps)
    for number, (batch, target) in enumerate(data):
        if number == warm_up:
            clock.start()
        step(batch, target)
    if hvd.rank() == 0:
        clock.say(steps * GLOBAL_BATCH)
    hvd.shutdown()
