"""Optimizers of one vector, or of a part of it, that are told where layers lie in it."""

from collections.abc import Callable
from itertools import accumulate

import keras
import tensorflow as tf

from hvd_ae.models.flat import FlatModel, Layout


class Pieces:
    """What a part of the flat vector holds of each layer's arrays: nothing, a piece, or the whole.

    Args:
        part: (first, count) of the vector's numbers; None for all of them.
    """

    def __init__(self, layout: Layout, part: tuple[int, int] | None):
        first, count = part or (0, layout.size)
        ends = [min(max(end - first, 0), count) for end in accumulate(layout.sizes)]
        self._cuts = list(zip([0, *ends], ends))
        # 1 for arrays of several axes, 0 for those of one, such as biases and what normalization scales by
        self.are_matrices = tf.constant([float(len(shape) > 1) for shape in layout.shapes])

    def squares(self, values: tf.Tensor) -> tf.Tensor:
        """The sum of the squares of each piece, (arrays,)."""
        return tf.stack([tf.reduce_sum(tf.square(values[first:end])) for first, end in self._cuts])

    def spread(self, of_arrays: tf.Tensor) -> tf.Tensor:
        """To each number of the part what (arrays,) says of the array that it lies in."""
        return tf.concat([tf.fill([end - first], of_arrays[array]) for array, (first, end) in enumerate(self._cuts)], axis=0)


class OnLayers:
    """In front of a Keras optimizer: it is given one vector, and weight decay can leave arrays of one axis out.

    Whoever builds such an optimizer says before where layers lie, by `lay_out`.
    """

    decay_vectors = True

    def lay_out(self, flat: FlatModel, part: tuple[int, int] | None) -> None:
        """Say what the vector is made of, and which part of it is trained here; before `build`."""
        self.pieces = Pieces(flat.layout, part)

    def _apply_weight_decay(self, variables) -> None:
        if self.decay_vectors:
            super()._apply_weight_decay(variables)
        elif self.weight_decay is not None:
            [vector] = variables
            decay = keras.ops.cast(self.learning_rate, "float32") * self.weight_decay
            vector.assign(vector - decay * self.pieces.spread(self.pieces.are_matrices) * vector)


def on_layers(kind: type[keras.optimizers.Optimizer], decay_vectors: bool) -> type[keras.optimizers.Optimizer]:
    """An optimizer of that kind which knows of layers."""
    bases = (kind,) if issubclass(kind, OnLayers) else (OnLayers, kind)
    return type(kind.__name__, bases, {"decay_vectors": decay_vectors})


class ByNorms(OnLayers):
    """An optimizer whose step needs two norms of each layer's arrays, and is element-wise beside that.

    Where ranks train parts of the vector, the norms' squares are summed over ranks within a step: `total` does it.
    """

    total: Callable[[tf.Tensor], tf.Tensor] | None = None

    def build(self, variables) -> None:
        super().build(variables)
        # by XLA each for itself, since a sum over ranks in between is not for it
        self._begun, self._ended = (tf.function(half, jit_compile=True, autograph=False) for half in (self.begin, self.end))

    def update_step(self, gradient, vector, learning_rate) -> None:
        squares = self._begun(gradient, vector)
        if self.total is not None:
            squares = tf.ensure_shape(self.total(squares), squares.shape)
        self._ended(gradient, vector, keras.ops.cast(learning_rate, "float32"), *tf.split(tf.sqrt(squares), 2))

    def begin(self, gradient: tf.Tensor, vector: tf.Variable) -> tf.Tensor:
        """The squares of both norms of all arrays, as far as they lie here, (2 * arrays,)."""
        raise NotImplementedError

    def end(self, gradient: tf.Tensor, vector: tf.Variable, rate: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> None:
        """Take the step; both norms are (arrays,)."""
        raise NotImplementedError


class Lamb(ByNorms, keras.optimizers.Lamb):
    """Adam whose step in each array is as long as the array times the rate (You et al. 2020, https://arxiv.org/abs/1904.00962).

    As Keras has it: the decay is apart from the gradient, and no part of the norm.
    """

    def begin(self, gradient, vector):
        [momentum], [velocity] = self._momentums, self._velocities
        momentum.assign(momentum + (1.0 - self.beta_1) * (gradient - momentum))
        velocity.assign(velocity + (1.0 - self.beta_2) * (tf.square(gradient) - velocity))
        return tf.concat([self.pieces.squares(vector), self.pieces.squares(self._direction())], axis=0)

    def end(self, gradient, vector, rate, first, second):
        trust = tf.where((first > 0.0) & (second > 0.0), tf.math.divide_no_nan(first, second), 1.0)
        vector.assign_sub(rate * self.pieces.spread(trust) * self._direction())

    def _direction(self) -> tf.Tensor:
        """That of Adam."""
        steps = tf.cast(self.iterations + 1, tf.float32)
        mean, square = (tf.convert_to_tensor(state.value) / (1.0 - beta**steps)
                        for [state], beta in ((self._momentums, self.beta_1), (self._velocities, self.beta_2)))
        return mean / (tf.sqrt(square) + self.epsilon)


class Lars(ByNorms, keras.optimizers.Optimizer):
    """SGD with momentum whose rate is adapted layer by layer (You et al. 2017, https://arxiv.org/abs/1708.03888).

    The rate of an array is `trust` x |w| / (|g| + `weight_decay` x |w|) of the common one, and the decay belongs to the
    gradient, as in the paper's algorithm 1. Arrays of one axis, such as biases, are neither adapted nor decayed, as is the
    custom.
    """

    def __init__(self, learning_rate=0.001, momentum=0.9, weight_decay=0.0001, trust=0.001, nesterov=False, name="lars"):
        super().__init__(learning_rate=learning_rate, name=name)
        self.momentum, self.decay, self.trust, self.nesterov = momentum, weight_decay, trust, nesterov

    def build(self, variables) -> None:
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def begin(self, gradient, vector):
        return tf.concat([self.pieces.squares(vector), self.pieces.squares(gradient)], axis=0)

    def end(self, gradient, vector, rate, first, second):
        adapts = (first > 0.0) & (second > 0.0) & (self.pieces.are_matrices > 0.0)
        adapted = tf.where(adapts, tf.math.divide_no_nan(self.trust * first, second + self.decay * first), 1.0)
        decayed = gradient + self.pieces.spread(self.decay * self.pieces.are_matrices) * vector
        [velocity], step = self._momentums, rate * self.pieces.spread(adapted) * decayed
        velocity.assign(self.momentum * velocity + step)
        vector.assign_sub(self.momentum * velocity + step if self.nesterov else velocity)

    def get_config(self) -> dict:
        config = super().get_config()
        return {"learning_rate": config["learning_rate"], "name": config["name"], "momentum": self.momentum,
                "weight_decay": self.decay, "trust": self.trust, "nesterov": self.nesterov}
