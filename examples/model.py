"""A network of one's own: an autoencoder of pictures that halves them twice, and gives them back through a code of 16.

    $ hvd-ae train --data digits --model examples.model:build --epochs 2

Any Keras 3 model will do whose output has the shape of its input. The layer that is named "code" is where `encoder.keras`
ends. Weights are drawn after Keras's seed has been set from `--seed`, so all ranks begin alike.
"""

import keras


def build(sample_shape: tuple[int, ...]) -> keras.Model:
    """What `--model examples.model:build` calls, with the shape of one sample: (height, width)."""
    layers = keras.layers
    height, width = sample_shape
    picture = keras.Input(sample_shape)
    features = layers.Reshape((height, width, 1))(picture)
    for filters in (8, 16):
        features = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(features)
    small = features.shape[1:]
    code = layers.Dense(16, name="code")(layers.Flatten()(features))
    features = layers.Reshape(small)(layers.Dense(small[0] * small[1] * small[2], activation="relu")(code))
    for filters in (8, 1):
        features = layers.Conv2DTranspose(filters, 3, strides=2, padding="same",
                                          activation="sigmoid" if filters == 1 else "relu")(features)
    cut = layers.Cropping2D(((0, features.shape[1] - height), (0, features.shape[2] - width)))(features)  # of odd sizes
    return keras.Model(picture, layers.Reshape(sample_shape)(cut), name="pictures")
