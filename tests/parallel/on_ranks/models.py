"""A user's own model, for tests."""

import keras


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
