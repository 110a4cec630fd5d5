"""The built-in autoencoders: dense layers between an input and an output of the data's own shape."""

import math

import keras

# Widths of the hidden layers; the data's own dimension stands at both ends.
WIDTHS = {
    "shallow": (32,),
    "stacked": (392, 196, 392),
    "deep": (512, 256, 128, 64, 32, 64, 128, 256, 512),
}


def dense_autoencoder(name: str, sample_shape: tuple[int, ...], output_activation: str) -> keras.Model:
    """A fully connected autoencoder; its narrowest layer is named "code".

    Args:
        name: a key of `WIDTHS`.
        sample_shape: the shape of one sample, which input and output share.
        output_activation: "sigmoid" for data within 0 to 1, "linear" for any.
    """
    layers = [keras.Input(sample_shape, name="sample"), keras.layers.Flatten(name="flatten")]
    code = min(WIDTHS[name])
    for position, width in enumerate(WIDTHS[name]):
        layer_name = "code" if width == code else f"hidden_{position + 1}"
        layers.append(keras.layers.Dense(width, activation="relu", name=layer_name))
    layers.append(keras.layers.Dense(math.prod(sample_shape), activation=output_activation, name="output"))
    layers.append(keras.layers.Reshape(sample_shape, name="reconstruction", dtype="float32"))  # in any precision
    return keras.Sequential(layers, name=name)
