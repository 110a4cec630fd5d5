"""Optimizers that work on whole layers, given those that lie in one flat vector."""

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
            raise Refused(f"optimizer={self.name!r} with these settings works on whole layers, and averaging='sharded' "
                          "deals out parts of them: use averaging='gradient'")
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
