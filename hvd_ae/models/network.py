"""What every built-in network says: how layers lead from a sample to its code, and from a code back."""

import importlib
import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import keras

from hvd_ae.settings.models import MODELS
from hvd_ae.settings.train import TrainSettings


class Network(ABC):
    """An encoder and a decoder, up to the code and to the outputs, on symbolic tensors. A new one is a file of its own.

    Layers are made in the order in which a sample passes them, so that a seed gives the same first weights in every task.

    Args:
        settings: resolved ones.
        sample_shape: of one sample.

    code: how many numbers a code has.
    code_activation: of the layer that gives the code, where that is a plain one.
    """

    code: int
    code_activation: str | None = None

    @abstractmethod
    def __init__(self, settings: TrainSettings, sample_shape: tuple[int, ...]): ...

    @abstractmethod
    def encode(self, sample: keras.KerasTensor, condition: keras.KerasTensor | None) -> keras.KerasTensor:
        """From (samples, *sample_shape), and (samples, numbers) or None, to features (samples, any)."""

    @abstractmethod
    def decode(self, code: keras.KerasTensor) -> keras.KerasTensor:
        """From (samples, code), with a condition's numbers behind it, to the features of which outputs are made."""

    def output(self, features: keras.KerasTensor, shape: tuple[int, ...], activation: str | None, name: str,
               dense_name: str) -> keras.KerasTensor:
        """An output of this shape a sample, float32 in any precision, from a decoder's features, or an encoder's."""
        if len(features.shape) > 2:
            features = keras.layers.Flatten(name=f"{name}_features")(features)
        values = keras.layers.Dense(math.prod(shape), activation=of_layer(activation), name=dense_name)(features)
        return finished(values, shape, activation, name)


_EXPONENTIAL = "exponential"


def of_layer(activation: str | None) -> str | None:
    """The activation that the last layer itself has."""
    return None if activation == _EXPONENTIAL else activation


def finished(values: keras.KerasTensor, shape: tuple[int, ...], activation: str | None, name: str) -> keras.KerasTensor:
    """What the last layer gives in the shape of an output, float32; where it is exponential, within e^-15 to e^15."""
    values = keras.layers.Reshape(shape, name=name, dtype="float32")(values)
    return keras.ops.exp(keras.ops.clip(values, -15.0, 15.0)) if activation == _EXPONENTIAL else values


class Condition(NamedTuple):
    """A second input: numbers of this shape, or, where there are classes, the number of one, given to layers as one-hot."""

    shape: tuple[int, ...]
    classes: int | None = None

    def given(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """The input, and what layers are given of it, (samples, numbers)."""
        given = keras.Input(self.shape, name="condition", dtype="float32" if self.classes is None else "int32")
        if self.classes is not None:
            return given, keras.ops.one_hot(given, self.classes)
        return given, keras.layers.Reshape((math.prod(self.shape),), name="condition_numbers")(given)


def make_network(settings: TrainSettings, sample_shape: tuple[int, ...]) -> Network:
    """The built-in network that the settings name.

    Raises:
        Refused: samples of this shape do not fit it.
    """
    module, _, of_module = MODELS[settings.model].partition(":")
    return getattr(importlib.import_module(module), of_module)(settings, sample_shape)


def joined(values: keras.KerasTensor, condition: keras.KerasTensor | None, name: str) -> keras.KerasTensor:
    """Features with a condition's numbers behind them."""
    return values if condition is None else keras.layers.Concatenate(name=name)([values, condition])
