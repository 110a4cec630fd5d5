"""Networks of convolutions, over one, two or three axes of a sample of any size."""

import math

import keras

from hvd_ae.errors import Refused
from hvd_ae.models.network import Network, finished, joined, of_layer
from hvd_ae.settings.models import widths_of
from hvd_ae.settings.train import TrainSettings

_KERNEL, _STRIDE = 3, 2
_MOST_CHANNELS = 4  # of a last axis that counts channels, where the user does not say
_GROUPS = 8


class Conv(Network):
    """Each layer of the encoder halves every axis, rounding up; the decoder's transposed ones bring back the same sizes.

    (Masci et al. 2011, https://doi.org/10.1007/978-3-642-21735-7_7; group normalization: Wu and He 2018,
    https://arxiv.org/abs/1803.08494.)
    """

    def __init__(self, settings: TrainSettings, sample_shape: tuple[int, ...]):
        self._shape, self._dimensions = sample_shape, _dimensions(settings.dimensions, sample_shape)
        self._grid = sample_shape if len(sample_shape) > self._dimensions else (*sample_shape, 1)
        self._widths, self.code = widths_of(settings.widths), settings.code
        self._activation, self._dropout = settings.activation, settings.dropout
        self._batch_norm, self._group_norm = settings.batch_norm, settings.group_norm
        self._sizes = [self._grid[:-1]]  # before each layer of the encoder, and after the last
        for _ in self._widths:
            self._sizes.append(tuple(-(-size // _STRIDE) for size in self._sizes[-1]))

    def encode(self, sample, condition):
        values = keras.layers.Reshape(self._grid, name="grid")(sample)
        for position, width in enumerate(self._widths, 1):
            layer = self._layer("Conv{}D")(width, _KERNEL, strides=_STRIDE, padding="same", use_bias=not self._batch_norm,
                                           name=f"convolution_{position}")
            values = self._activated(layer(values), width, position)
        return joined(keras.layers.Flatten(name="flatten")(values), condition, "features_and_condition")

    def decode(self, code):
        smallest = (*self._sizes[-1], self._widths[-1])
        values = keras.layers.Dense(math.prod(smallest), activation=self._activation, name="from_code")(code)
        values = keras.layers.Reshape(smallest, name="smallest_grid")(values)
        for position in range(len(self._widths), 0, -1):
            width, size = self._widths[max(position - 2, 0)], self._sizes[position - 1]
            layer = self._layer("Conv{}DTranspose")(width, _KERNEL, strides=_STRIDE, padding="same",
                                                    use_bias=not self._batch_norm, name=f"transposed_{position}")
            values = layer(values)
            excess = tuple((0, grown - wanted) for grown, wanted in zip(values.shape[1:-1], size))
            if any(after for _, after in excess):
                cropping = excess if self._dimensions > 1 else excess[0]
                values = self._layer("Cropping{}D")(cropping, name=f"cropped_{position}")(values)
            values = self._activated(values, width, -position)
        return values

    def output(self, features, shape, activation, name, dense_name):
        if tuple(shape) != tuple(self._shape) or len(features.shape) < 3:
            return super().output(features, shape, activation, name, dense_name)
        layer = self._layer("Conv{}D")(self._grid[-1], _KERNEL, padding="same", activation=of_layer(activation),
                                       name=dense_name)
        return finished(layer(features), shape, activation, name)

    def _layer(self, name: str) -> type[keras.layers.Layer]:
        return getattr(keras.layers, name.format(self._dimensions))

    def _activated(self, values, width: int, position: int):
        """Behind a convolution; `position` is negative in the decoder."""
        side = f"{'encoder' if position > 0 else 'decoder'}_{abs(position)}"
        if self._batch_norm:
            values = keras.layers.BatchNormalization(name=f"normalized_{side}")(values)
        if self._group_norm:
            values = keras.layers.GroupNormalization(math.gcd(_GROUPS, width), name=f"normalized_{side}")(values)
        values = keras.layers.Activation(self._activation, name=f"activated_{side}")(values)
        return keras.layers.Dropout(self._dropout, name=f"dropout_{side}")(values) if self._dropout else values


def _dimensions(given: int | None, shape: tuple[int, ...]) -> int:
    """How many axes are convolved.

    Raises:
        Refused: the sample has not so many, or too many.
    """
    if given is None:
        given = len(shape) - 1 if len(shape) > 1 and shape[-1] <= _MOST_CHANNELS else len(shape)
    if not (1 <= given <= 3 and given <= len(shape) <= given + 1):
        raise Refused(f"model='conv' convolves one to three axes of a sample, and perhaps one of channels is the last, but "
                      f"samples have the shape {shape}, and dimensions={given}: reshape them, or give --dimensions")
    return given
