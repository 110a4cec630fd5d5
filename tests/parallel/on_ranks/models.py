"""Models of a user's own, for tests."""

import keras
import numpy as np


def normalised(sample_shape):
    return keras.Sequential([
        keras.Input(sample_shape),
        keras.layers.Flatten(),
        keras.layers.Dense(16),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(20, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(1e-3)),
        keras.layers.Reshape(sample_shape),
    ])


def constrained(sample_shape):
    """Kernels without negative numbers, columns of norm 1, and rows of norm 0.5 at most."""
    return keras.Sequential([
        keras.Input(sample_shape),
        keras.layers.Flatten(),
        keras.layers.Dense(7, activation="relu", kernel_constraint="non_neg", bias_constraint="non_neg"),
        keras.layers.Dense(5, kernel_constraint=keras.constraints.UnitNorm(axis=0)),
        keras.layers.Dense(20, kernel_constraint=keras.constraints.MaxNorm(0.5, axis=1)),
        keras.layers.Reshape(sample_shape),
    ])


@keras.saving.register_keras_serializable("hvd_ae_tests")
class Keeper(keras.layers.Layer):
    """A mask, a table, a count of calls and the largest sum of a batch: state of which no mean could be taken."""

    def build(self, shape):
        self.mask = self.add_weight(shape=shape[1:], dtype="bool", trainable=False, name="mask",
                                    initializer=lambda shape, dtype: np.arange(shape[0]) % 3 > 0)
        self.table = self.add_weight(shape=shape[1:], dtype="int32", trainable=False, name="table",
                                     initializer=lambda shape, dtype: np.arange(shape[0])[::-1])
        self.calls = self.add_weight(shape=(), dtype="int64", trainable=False, name="calls")
        self.maximum_int = self.add_weight(shape=(), dtype="float64", trainable=False, name="largest")

    def call(self, inputs, training=False):
        if training:
            self.calls.assign_add(1)
            self.maximum_int.assign(keras.ops.maximum(self.maximum_int, keras.ops.cast(keras.ops.sum(inputs), "float64")))
        return keras.ops.take(inputs, self.table, axis=1) * keras.ops.cast(self.mask, inputs.dtype)


def everything(sample_shape):
    """All that layers bring at once: constraints, penalties, state that has no mean, moving statistics and dropout."""
    return keras.Sequential([
        keras.Input(sample_shape),
        keras.layers.Flatten(),
        Keeper(),
        keras.layers.Dense(16, kernel_constraint="non_neg", bias_constraint="non_neg"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10, kernel_constraint=keras.constraints.UnitNorm(axis=0)),
        keras.layers.Dense(20, kernel_constraint=keras.constraints.MaxNorm(0.5, axis=1),
                           kernel_regularizer=keras.regularizers.L2(1e-3)),
        keras.layers.Reshape(sample_shape),
    ])


def with_state(sample_shape):
    return keras.Sequential([
        keras.Input(sample_shape),
        keras.layers.Flatten(),
        Keeper(),
        keras.layers.Dense(8),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(20, kernel_regularizer=keras.regularizers.L2(0.05)),
        keras.layers.Reshape(sample_shape),
    ])


def batch_normalised(sample_shape):
    """Batch normalizations after each other and beside each other, over channels of pictures and over features."""
    layers = keras.layers
    given = keras.Input(sample_shape)
    picture = layers.Conv2D(3, 3, padding="same")(layers.Reshape((*sample_shape, 1))(given))
    features = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(picture)))
    beside = [layers.BatchNormalization()(layers.Dense(6)(features)) for _ in range(2)]
    output = layers.Dense(20, activation="sigmoid")(layers.ReLU()(layers.Add()(beside)))
    return keras.Model(given, layers.Reshape(sample_shape)(output))


def synchronized(sample_shape):
    return keras.Sequential([keras.Input(sample_shape), keras.layers.Dense(5),
                             keras.layers.BatchNormalization(synchronized=True)])
