"""Any Keras model as a function of one flat float32 vector."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import accumulate, pairwise
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.models.batch_statistics import BatchStatistics
from hvd_ae.models.limits import check_honoured


class Layout:
    """Where each array of a model lies in the flat vector: one after the other, in the model's own order."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]):
        self.shapes = [tuple(shape) for shape in shapes]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.size = sum(self.sizes)

    def split(self, vector: tf.Tensor) -> list[tf.Tensor]:
        """The vector's pieces in their own shapes.

        TensorFlow gives a slice without copying where it begins and ends at a multiple of 64 bytes, as those of most
        layers do; `tf.split` would copy them all.
        """
        return [tf.reshape(vector[end - size : end], shape)
                for end, size, shape in zip(accumulate(self.sizes), self.sizes, self.shapes)]

    def buckets(self, count: int) -> list[slice]:
        """The arrays as at most `count` runs of consecutive ones, about equal in numbers."""
        ends = list(accumulate(self.sizes))
        cuts = {min(range(len(ends)), key=lambda i: abs(ends[i] - self.size * bucket / count)) + 1
                for bucket in range(1, count)} - {len(ends)}
        return [slice(*cut) for cut in pairwise([0, *sorted(cuts), len(ends)])]

    def join(self, arrays: Sequence[tf.Tensor]) -> tf.Tensor:
        """The inverse of `split`."""
        if not arrays:
            return tf.zeros([0])
        return tf.concat([tf.reshape(array, [-1]) for array in arrays], axis=0)


class LossAndGradient(NamedTuple):
    """What one forward and backward pass gives."""

    gradient: list[tf.Tensor]  # float32 (parameters,), in as many pieces as were asked for, each as soon as it is there
    loss_sum: tf.Tensor  # float32 scalar: the sum over the samples of each sample's loss, penalties of layers included
    buffers: tf.Tensor  # float32 (buffers,): moving statistics after the pass
    counters: list[tf.Tensor]  # seeds and other state after the pass, in their own dtypes


class FlatModel:
    """A Keras model called statelessly on slices of one vector.

    What a Keras model holds falls into three kinds. Parameters are trained. Buffers are its other float32 variables,
    such as batch normalisation's moving statistics, and are averaged over ranks too. Counters are the rest, of which no
    mean could be taken: the states of seed generators, which are a rank's own, and any other state, such as masks, index
    tables and quantised kernels, which is the same on all ranks once they are synchronized.

    Raises:
        Refused: plain Keras would use something of the model that is not used here (see `limits.py`).
    """

    def __init__(self, model: keras.Model, loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]):
        check_honoured(model)
        self.keras_model = model
        self.loss = loss
        self.batch_statistics: BatchStatistics | None = None  # of all ranks, where each rank's own are not to be used
        self.layout = Layout([v.shape for v in model.trainable_variables])
        self._constraints = [getattr(v, "constraint", None) for v in model.trainable_variables]
        self._is_buffer = [v.dtype == "float32" for v in model.non_trainable_variables]
        self.buffer_layout = Layout([v.shape for v in self._of_kind(model.non_trainable_variables, True)])
        # of each counter, whether it is the state of a keras.random.SeedGenerator, which gives all of them this name
        self.is_seed = [v.name == "seed_generator_state" for v in self._of_kind(model.non_trainable_variables, False)]

    @property
    def is_constrained(self) -> bool:
        """Whether a layer says which values its parameters may have (a `kernel_constraint` and the like)."""
        return any(self._constraints)

    def constrained(self, parameters: tf.Tensor) -> tf.Tensor:
        """The parameters with each layer's constraint applied to its own, as Keras does after each update."""
        return self.layout.join([piece if constraint is None else tf.cast(constraint(piece), tf.float32)
                                 for piece, constraint in zip(self.layout.split(parameters), self._constraints)])

    def _of_kind(self, non_trainable: Sequence, buffers: bool) -> list:
        return [v for v, is_buffer in zip(non_trainable, self._is_buffer) if is_buffer == buffers]

    def read(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Parameters, buffers and counters as the Keras model holds them now."""
        non_trainable = [np.asarray(v) for v in self.keras_model.non_trainable_variables]
        return (
            _joined([np.asarray(v) for v in self.keras_model.trainable_variables]),
            _joined(self._of_kind(non_trainable, True)),
            self._of_kind(non_trainable, False),
        )

    def release(self) -> None:
        """Give back the memory of the Keras model's own trainable variables, which stay empty until the next `write`."""
        for variable in self.keras_model.trainable_variables:
            replace(variable.value, tf.zeros([0]))

    def write(self, parameters: np.ndarray, buffers: np.ndarray, counters: Sequence[np.ndarray] = ()) -> keras.Model:
        """The Keras model, holding these vectors: to be saved, or called by code that knows nothing of vectors.

        Of the counters seeds are left as the model was built with.
        """
        values = np.split(parameters, np.cumsum(self.layout.sizes)[:-1])
        for variable, value in zip(self.keras_model.trainable_variables, values):
            replace(variable.value, value.reshape(variable.shape))
        values = np.split(buffers, np.cumsum(self.buffer_layout.sizes)[:-1])
        for variable, value in zip(self._of_kind(self.keras_model.non_trainable_variables, True), values):
            variable.assign(value.reshape(variable.shape))
        others = self._of_kind(self.keras_model.non_trainable_variables, False)
        for variable, value, is_seed in zip(others, counters, self.is_seed):
            if not is_seed:
                variable.assign(value)
        return self.keras_model

    def _non_trainable(self, buffers: tf.Tensor, counters: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        floating, rest = iter(self.buffer_layout.split(buffers) if self.buffer_layout.size else []), iter(counters)
        return [next(floating) if is_buffer else next(rest) for is_buffer in self._is_buffer]

    def draws_in_inference(self, inputs: tf.Tensor) -> bool:
        """Whether the model as it is written draws random numbers in inference too, so that no two calls give the same."""
        model = self.keras_model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        with keras.StatelessScope(state_mapping=[(v, v.value) for v in variables]) as scope:
            before = [scope.get_current_value(v) for v in variables]
            model(inputs, training=False)
            return any(scope.get_current_value(v) is not old for v, old in zip(variables, before))

    def outputs(self, parameters, buffers, counters, inputs: tf.Tensor) -> tf.Tensor:
        """The model's outputs in inference mode, shape (samples, ...)."""
        return self.outputs_and_penalties(parameters, buffers, counters, inputs)[0]

    def outputs_and_penalties(self, parameters, buffers, counters, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """As `outputs`, and what layers add to the loss of each of these samples (float32 scalars)."""
        outputs, _, penalties = self._call(self.layout.split(parameters), buffers, counters, inputs, training=False)
        return outputs, penalties

    def _call(self, pieces, buffers, counters, inputs, training: bool) -> tuple[tf.Tensor, list, list]:
        """Outputs, the non-trainable variables after the call, and the penalties that layers add to a sample's loss.

        This is Keras's `stateless_call`, but calls the model itself and not its `call`: only so do the layers of a
        model that is a class, whose `call` may take no `training`, learn whether they are being trained.
        """
        model = self.keras_model
        values = [*pieces, *self._non_trainable(buffers, counters)]
        mapping = list(zip([*model.trainable_variables, *model.non_trainable_variables], values))
        statistics = self.batch_statistics.used_by(model) if training and self.batch_statistics else nullcontext()
        with statistics, keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            outputs, penalties = model(inputs, training=training), model.losses
        penalties = [tf.reduce_sum(tf.cast(penalty, tf.float32)) for penalty in penalties]  # they may be vectors, or bfloat16
        return outputs, [scope.get_current_value(v) for v in model.non_trainable_variables], penalties

    def value_and_grad(self, parameters, buffers, counters, inputs, targets, divisor: tf.Tensor,
                       buckets: int = 1) -> LossAndGradient:
        """Loss and gradient, in `buckets` pieces, of the samples' losses summed and divided by `divisor`.

        With the samples of this rank as divisor the gradient is this rank's mean over samples. With the samples of all
        ranks the ranks' gradients add up to the mean over all samples, however many samples each rank had. A penalty
        that a layer adds (a kernel regulariser) counts once a sample, so it too comes out right, and belongs to the loss
        that is reported, as in Keras.
        """
        pieces, samples = self.layout.split(parameters), tf.cast(samples_of(inputs), tf.float32)
        if self.batch_statistics is not None:
            self.batch_statistics.counts_own = tf.cast(samples > 0, tf.float32)
            inputs, targets = _at_least_one(inputs), _at_least_one(targets)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pieces)
            outputs, non_trainable, penalties = self._call(pieces, buffers, counters, inputs, training=True)
            loss_sum = tf.where(samples > 0, tf.reduce_sum(self.loss(targets, outputs)), 0.0)
            if penalties:
                loss_sum += samples * tf.add_n(penalties)
            objective = loss_sum / tf.cast(divisor, tf.float32)
        gradients = tape.gradient(objective, pieces, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        gradient = [self.layout.join(gradients[arrays]) for arrays in self.layout.buckets(buckets)]
        _last_first(gradient)
        buffers = self.buffer_layout.join(self._of_kind(non_trainable, True))
        return LossAndGradient(gradient, loss_sum, buffers, self._of_kind(non_trainable, False))


def _at_least_one(values):
    """A sample of zeros where there is none: layers need not know what to do with an empty batch, as convolutions do not."""
    def padded(tensor: tf.Tensor) -> tf.Tensor:
        missing = 1 - tf.minimum(tf.shape(tensor)[0], 1)
        return tf.pad(tensor, [[0, missing], *[[0, 0]] * (tensor.shape.rank - 1)])

    return tf.nest.map_structure(padded, values)


def samples_of(inputs) -> tf.Tensor:
    """How many samples a model is given, int32; inputs may be several."""
    return tf.shape(tf.nest.flatten(inputs)[0])[0]


def _last_first(buckets: list[tf.Tensor]) -> None:
    """Let what only earlier buckets need wait until the later ones are there.

    TensorFlow computes the gradients of all activations first and those of parameters then, on a thread of its own choice:
    all buckets would be there at once, when nothing is left to hide a reduction behind. There is no public way to add an
    order to operations that a gradient tape has made.
    """
    if tf.executing_eagerly():
        return
    done: set[tf.Operation] = set()
    for later, earlier in pairwise(reversed(buckets)):
        done |= _needed_for(later.op)
        own = _needed_for(earlier.op) - done
        for operation in own:
            if operation.inputs and not any(tensor.op in own for tensor in operation.inputs):
                operation._add_control_inputs([later.op])


def _needed_for(operation: tf.Operation) -> set[tf.Operation]:
    """It, and all that comes before it in its graph."""
    found, left = set(), [operation]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += [*(tensor.op for tensor in each.inputs), *each.control_inputs]
    return found


def replace(variable: tf.Variable, value) -> None:
    """Give a variable a value of another size than it has now, which `assign` refuses; an empty one frees its memory."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.float32)
