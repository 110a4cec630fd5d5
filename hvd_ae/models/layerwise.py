"""Optimizers that look at each layer's norm or shape, given the layers that lie in one flat vector."""

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.flat import FlatModel, Layout, replace


class LayerByLayer:
    """A Keras optimizer as `Learner` wants one: it is given one vector, and works on the arrays that lie in it.

    All of the optimizer's own arrays are one vector too, `state`, so that whatever averages, saves or sends an optimizer's
    state needs to know nothing of layers. Keras computes: it is called statelessly, on slices.

    Args:
        optimizer: any Keras optimizer that has not been built.
        decay_vectors: whether weight decay is for arrays of one axis too, such as biases.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, decay_vectors: bool = True):
        self._stateless, self._decay_vectors = _stateless(optimizer), decay_vectors
        self.name = type(optimizer).__name__.lower()
        self._learning_rate = self._stateless._learning_rate

    def lay_out(self, flat: "FlatModel", part: tuple[int, int] | None) -> None:
        """Say what the vector is made of; before `build`.

        Raises:
            Refused: this rank is given a part of the vector, which begins and ends within layers.
        """
        if part is not None:
            raise Refused(f"optimizer={self.name!r} with these settings works layer by layer, and averaging='sharded' deals "
                          "out parts of layers: use averaging='gradient'")
        self._layout, self._variables = flat.layout, flat.keras_model.trainable_variables

    def build(self, variables: list[keras.Variable]) -> None:
        inner = self._stateless
        if not self._decay_vectors:
            inner.exclude_from_weight_decay([v for v in self._variables if len(v.shape) < 2])
        inner.build(self._variables)
        arrays = [v for v in inner.variables if len(v.shape)]
        self._state_layout = Layout([v.shape for v in arrays])
        start = np.concatenate([np.asarray(v).ravel() for v in arrays]) if arrays else np.zeros(0, np.float32)
        self.state = keras.Variable(start.astype(np.float32), name="layer_state", trainable=False)
        for variable in arrays:
            replace(variable.value, tf.zeros([0]))
        self.numbers = [v for v in inner.variables if not len(v.shape)]

    @property
    def iterations(self) -> keras.Variable:
        return self._stateless.iterations

    @property
    def learning_rate(self):
        return self._stateless.learning_rate

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self.numbers, *([self.state] if self._state_layout.size else [])]

    def apply(self, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> None:
        """One step for the vector, inside `tf.function`."""
        [gradient], [vector], inner = gradients, variables, self._stateless
        arrays = iter(self._state_layout.split(tf.convert_to_tensor(self.state.value)))
        state = [next(arrays) if len(v.shape) else tf.convert_to_tensor(v.value) for v in inner.variables]
        moved, state = inner.stateless_apply(state, self._layout.split(gradient),
                                             self._layout.split(tf.convert_to_tensor(vector.value)))
        vector.assign(self._layout.join(moved))
        if self._state_layout.size:
            self.state.assign(self._state_layout.join([each for each, v in zip(state, inner.variables) if len(v.shape)]))
        for variable, value in zip(inner.variables, state):
            if not len(variable.shape):
                variable.assign(value)


def _stateless(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The same optimizer without what Keras adds for `tf.distribute`, in whose place its general methods are.

    With TensorFlow, Keras refuses `stateless_apply`, since its optimizers then write into TensorFlow's variables themselves.
    """
    kind = type(optimizer)
    base = next(each for each in kind.__mro__ if each.__name__ == "BaseOptimizer")
    names = ("stateless_apply", "assign", "assign_add", "assign_sub", "_var_key", "_backend_update_step",
             "add_variable_from_reference")
    methods = {name: vars(base)[name] for name in names}
    if "_apply_weight_decay" not in vars(kind):
        methods["_apply_weight_decay"] = vars(base)["_apply_weight_decay"]
    rate, config = optimizer._learning_rate, optimizer.get_config()
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = float(np.asarray(rate))
    return type(kind.__name__, (kind,), methods)(**{**config, "learning_rate": rate})


class Lars(keras.optimizers.Optimizer):
    """SGD with momentum whose rate is adapted layer by layer (You et al. 2017, https://arxiv.org/abs/1708.03888).

    The rate of a layer is `trust` x |w| / (|g| + `weight_decay` x |w|) of the common one, and the decay belongs to the
    gradient, as in the paper's algorithm 1. Arrays of one axis, such as biases, are neither adapted nor decayed, as is the
    custom.
    """

    def __init__(self, learning_rate=0.001, momentum=0.9, weight_decay=0.0001, trust=0.001, nesterov=False, name="lars"):
        super().__init__(learning_rate=learning_rate, name=name)
        self.momentum, self.decay, self.trust, self.nesterov = momentum, weight_decay, trust, nesterov

    def build(self, variables) -> None:
        if not self.built:
            super().build(variables)
            self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate) -> None:
        ops, velocity = keras.ops, self._momentums[self._get_variable_index(variable)]
        if len(variable.shape) > 1:
            size, slope = ops.sqrt(ops.sum(ops.square(variable))), ops.sqrt(ops.sum(ops.square(gradient)))
            whole = slope + self.decay * size
            adapted = ops.where((size > 0) & (slope > 0), self.trust * size / ops.where(whole > 0, whole, 1.0), 1.0)
            gradient = adapted * (gradient + self.decay * variable)
        step = learning_rate * gradient
        self.assign(velocity, self.momentum * velocity + step)
        self.assign_sub(variable, self.momentum * velocity + step if self.nesterov else velocity)

    def get_config(self) -> dict:
        config = super().get_config()
        return {"learning_rate": config["learning_rate"], "name": config["name"], "momentum": self.momentum,
                "weight_decay": self.decay, "trust": self.trust, "nesterov": self.nesterov}
