"""Keras optimizers by name, on one flat vector."""

import keras

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
