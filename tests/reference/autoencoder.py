"""A dense autoencoder, its backward pass and SGD written from scratch in NumPy: the oracle of law 8.

It shares nothing with the package: the derivatives are written out by hand, in float64.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class DenseLayer:
    """outputs = activation(inputs @ weights + bias); weights (inputs, outputs), bias (outputs,)."""

    weights: np.ndarray
    bias: np.ndarray
    activation: str  # "relu", "sigmoid" or "linear"


def forward(layers: list[DenseLayer], inputs: np.ndarray) -> list[np.ndarray]:
    """What goes into each layer, and at the end what comes out: arrays of (rows, width)."""
    values = [inputs]
    for layer in layers:
        sums = values[-1] @ layer.weights + layer.bias
        if layer.activation == "relu":
            sums = np.maximum(sums, 0.0)
        elif layer.activation == "sigmoid":
            sums = 1.0 / (1.0 + np.exp(-sums))
        values.append(sums)
    return values


def loss_of(layers: list[DenseLayer], inputs: np.ndarray) -> float:
    """Squared error, mean over features and rows."""
    return float(np.mean((forward(layers, inputs)[-1] - inputs) ** 2))


def gradients(layers: list[DenseLayer], inputs: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The loss's derivatives by each layer's weights and bias."""
    values = forward(layers, inputs)
    upstream = 2.0 * (values[-1] - inputs) / inputs.size
    found = []
    for layer, layer_inputs, outputs in reversed(list(zip(layers, values[:-1], values[1:]))):
        if layer.activation == "relu":
            upstream = upstream * (outputs > 0)
        elif layer.activation == "sigmoid":
            upstream = upstream * outputs * (1.0 - outputs)
        found.append((layer_inputs.T @ upstream, upstream.sum(axis=0)))
        upstream = upstream @ layer.weights.T
    return found[::-1]


def sgd_step(layers: list[DenseLayer], inputs: np.ndarray, learning_rate: float) -> None:
    """One step of plain SGD, in place."""
    for layer, (by_weights, by_bias) in zip(layers, gradients(layers, inputs)):
        layer.weights -= learning_rate * by_weights
        layer.bias -= learning_rate * by_bias


def from_vector(vector: np.ndarray, widths: list[int], activations: list[str]) -> list[DenseLayer]:
    """Layers whose weights and biases lie one after the other in a vector, in float64."""
    layers, here = [], 0
    for inputs, outputs, activation in zip(widths[:-1], widths[1:], activations):
        weights = vector[here : here + inputs * outputs].reshape(inputs, outputs)
        here += inputs * outputs
        bias = vector[here : here + outputs]
        here += outputs
        layers.append(DenseLayer(weights.astype(np.float64), bias.astype(np.float64), activation))
    assert here == len(vector), f"{here} parameters in the layers, {len(vector)} in the vector"
    return layers


def to_vector(layers: list[DenseLayer]) -> np.ndarray:
    return np.concatenate([np.concatenate([layer.weights.ravel(), layer.bias]) for layer in layers])
