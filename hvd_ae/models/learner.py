"""This rank's copy of the training state, all of it vectors: parameters, buffers, the optimizer's state."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.models.flat import FlatModel, replace
from hvd_ae.models.layerwise import LayerByLayer
from hvd_ae.models.on_layers import ByNorms, OnLayers
from hvd_ae.models.schedules import Shifted
from hvd_ae.models.state import Kind, State


class Batch(NamedTuple):
    """One step's samples."""

    inputs: tf.Tensor  # this rank's samples, (samples, *shape); there may be none
    targets: tf.Tensor  # what the outputs are compared with; for an autoencoder the inputs
    size: tf.Tensor  # int32: this rank's samples
    global_size: tf.Tensor  # int32: samples of all ranks, at least 1


class Learner:
    """Parameters, buffers, counters and optimizer state of one rank.

    AutoGraph leaves alone what has no branch that a tensor decides: to rewrite the whole of it takes a second at the first
    step of every rank.

    Args:
        flat: the model as a function of a vector.
        optimizer: an element-wise Keras optimizer that has not been built, or a `LayerByLayer`.
        rank: added to the seeds, so that ranks draw different dropout masks.
        part: (first, count) of the parameters that this rank's optimizer updates; None for all of them.
    """

    def __init__(self, flat: FlatModel, optimizer: keras.optimizers.Optimizer | LayerByLayer, rank: int,
                 part: tuple[int, int] | None = None):
        self.flat = flat
        parameters, buffers, counters = flat.read()
        self.parameters = keras.Variable(parameters, name="parameters")
        flat.release()
        self.buffers = tf.Variable(buffers, name="buffers", trainable=False)
        self.counters = [tf.Variable(c + np.asarray(rank, c.dtype) if is_seed else c, trainable=False)
                         for c, is_seed in zip(counters, flat.is_seed)]
        # the samples this rank, and all ranks, have trained on since the last average: its weight in the next one
        self.samples_since_sync = tf.Variable(tf.zeros([2], tf.int64), name="rows_since", trainable=False)
        self.optimizer = optimizer
        self.part = part
        self.trained = self.parameters if part is None else keras.Variable(parameters[part[0] : sum(part)], name="part")
        if isinstance(optimizer, (LayerByLayer, OnLayers)):
            optimizer.lay_out(flat, part)
        optimizer.build([self.trained])
        self.average: tf.Variable | None = None  # of the parameters, moving
        # XLA fuses the optimizer's dozen passes over memory into one: with Adam and the deep
        # model one core trained on 16,700 samples/s instead of 12,600
        self._apply = tf.function(self._apply_eagerly, jit_compile=True, autograph=False)
        # not by XLA: a user's own constraint may not be for it
        self._constrained = tf.function(flat.constrained, autograph=False)

    def sum_over_ranks(self, total: Callable[[tf.Tensor], tf.Tensor]) -> None:
        """Let what an optimizer has to know of whole layers, of which this rank trains a part, be summed by this."""
        if isinstance(self.optimizer, ByNorms):
            self.optimizer.total = total
            self._apply = tf.function(self._apply_eagerly, autograph=False)

    @property
    def vector(self) -> tf.Variable:
        """The parameters as TensorFlow sees them, float32 (parameters,)."""
        return self.parameters.value

    @property
    def optimizer_state(self) -> list[tf.Variable]:
        """The optimizer's vectors: momentum, velocity and so on."""
        return [v.value for v in self.optimizer.variables if len(v.shape)]

    @property
    def averaged(self) -> list[tf.Variable]:
        """What an average of parameters over ranks is of: the parameters, and their moving average where there is one."""
        return [self.vector] if self.average is None else [self.vector, self.average]

    @property
    def evaluated(self) -> tf.Variable:
        """The parameters to evaluate and to save: their moving average where there is one."""
        return self.averaged[-1]

    def keep_average(self, decay: float) -> None:
        """From here on, keep a moving average of the parameters (Polyak and Juditsky 1992, with a constant decay).

        As in Keras the first update's parameters begin it.
        """
        self.average, self._decay = tf.Variable(self.vector, name="average", trainable=False), decay
        self._moved = tf.function(self._moved_average, jit_compile=True, autograph=False)

    def _moved_average(self, average: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        kept = tf.where(self.optimizer.iterations.value > 1, self._decay, 0.0)
        return kept * average + (1.0 - kept) * parameters

    @tf.autograph.experimental.do_not_convert
    def move_average(self) -> None:
        """What belongs to an update of all parameters: whoever puts parts together calls it afterwards."""
        if self.average is not None:
            self.average.assign(self._moved(tf.convert_to_tensor(self.average), tf.convert_to_tensor(self.vector)))

    @property
    def tables(self) -> list[tf.Variable]:
        """The counters that are no seeds: masks, indices and the like, of any dtype."""
        return [counter for counter, is_seed in zip(self.counters, self.flat.is_seed) if not is_seed]

    @property
    def updates(self) -> int:
        """How often the optimizer has been called."""
        return int(self.optimizer.iterations)

    @property
    def schedule(self) -> Shifted | None:
        """Of the learning rate; None where that is a number."""
        rate = self.optimizer._learning_rate
        return rate if isinstance(rate, Shifted) else None

    @property
    def schedule_shift(self) -> tf.Variable | None:
        """What a schedule adds to the number of updates (int64)."""
        return self.schedule and self.schedule.shift

    @property
    def learning_rate(self) -> float:
        """Of the last update."""
        return float(self.schedule(max(0, self.updates - 1)) if self.schedule else self.optimizer.learning_rate)

    def count_updates_from(self, updates: int) -> None:
        """Let the next update be the one after so many, to the schedule of the learning rate.

        Ranks that train apart have not all made the same number of them: where one had no sample, it made none.
        """
        if self.schedule_shift is not None:
            self.schedule_shift.assign(updates - self.updates)

    @property
    def state(self) -> dict[str, State]:
        """Everything that training changes, by names that say what it is."""
        state = {"parameters": State(self.vector, Kind.PARAMETERS), "buffers": State(self.buffers, Kind.BUFFERS)}
        for position, (counter, is_seed) in enumerate(zip(self.counters, self.flat.is_seed)):
            kind = Kind.SEED if is_seed else Kind.TABLE
            state[f"{kind.value}_{position}"] = State(counter, kind)
        if self.schedule_shift is not None:
            state["schedule_shift"] = State(self.schedule_shift, Kind.COUNT)
        if self.average is not None:
            state["average"] = State(self.average, Kind.PARAMETERS)
        for position, variable in enumerate(self.optimizer.variables):
            kind = Kind.OPTIMIZER if len(variable.shape) else Kind.COUNT
            name = variable.name.removeprefix(f"{self.trained.name}_")
            if re.fullmatch(r"variable(_\d+)?", name):  # without a name Keras counts variables on within a process
                name = f"unnamed_{position}"
            if name != "learning_rate":  # a setting, which a resumed run may change
                state[f"optimizer_{name}"] = State(variable.value, kind)
        return state

    def gradient(self, batch: Batch, divisor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The gradient of the samples' summed losses over `divisor`, and that sum; buffers and counters move on.

        A rank without samples in this step gives zeros, and its batch normalisation is left alone, but where that is of all
        ranks: then it takes part in their sums.
        """
        [gradient], loss_sum = self.gradient_in_buckets(batch, divisor, 1)
        return gradient, loss_sum

    @tf.autograph.experimental.do_not_convert
    def gradient_in_buckets(self, batch: Batch, divisor: tf.Tensor, buckets: int) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As `gradient`, cut between layers into at most `buckets` consecutive vectors.

        The last is there first, while the backward pass goes on with the layers before.
        """
        layout = self.flat.layout
        sizes = [sum(layout.sizes[arrays]) for arrays in layout.buckets(buckets)]
        always = self.flat.batch_statistics is not None
        gradient, loss_sum, buffers, counters = self._value_and_grad(batch, divisor, buckets) if always else tf.cond(
            batch.size > 0,
            lambda: tuple(self._value_and_grad(batch, divisor, buckets)),
            # filled with a number that is 0 here: TensorFlow would keep a constant of that size for good
            lambda: ([tf.fill([size], tf.cast(batch.size, tf.float32)) for size in sizes], 0.0,
                     tf.identity(self.buffers), list(map(tf.identity, self.counters))),
        )
        if self.flat.buffer_layout.size:
            self.buffers.assign(buffers)
        for variable, value in zip(self.counters, counters):
            variable.assign(value)
        self.samples_since_sync.assign_add(tf.cast(tf.stack([batch.size, batch.global_size]), tf.int64))
        return gradient, loss_sum

    def _value_and_grad(self, batch: Batch, divisor: tf.Tensor, buckets: int):
        return self.flat.value_and_grad(
            tf.convert_to_tensor(self.vector), tf.convert_to_tensor(self.buffers),
            [tf.convert_to_tensor(counter) for counter in self.counters], batch.inputs, batch.targets, divisor,
            buckets,
        )

    @tf.autograph.experimental.do_not_convert
    def update(self, gradient: tf.Tensor) -> None:
        """One step of the optimizer on what it trains: all parameters, or this rank's part of them.

        All parameters then satisfy the layers' constraints; a part may end within a layer, so that whoever puts the parts
        together calls `constrain` on the whole, and `move_average`.
        """
        self._apply(gradient)
        if self.part is None:
            self.constrain(self.vector)
            self.move_average()

    def local_update(self, batch: Batch) -> tf.Tensor:
        """One step of this rank alone on its own batch, left out where it has none; the sum of its losses."""
        gradient, loss_sum = self.gradient(batch, divisor=tf.maximum(batch.size, 1))
        if batch.size > 0:
            self.update(gradient)
        return loss_sum

    @tf.autograph.experimental.do_not_convert
    def constrain(self, parameters: tf.Variable) -> None:
        """Give parameters the nearest values that the layers' constraints allow; nothing at all where there are none.

        Whatever writes parameters calls it: an update, and each average or move towards other ranks, since of values that
        are allowed (of unit norm, say) the mean may be none.
        """
        if self.flat.is_constrained:
            parameters.assign(self._constrained(tf.convert_to_tensor(parameters)))

    def release_training_state(self) -> None:
        """Give back the memory of the optimizer's vectors and of a part of the parameters: nothing is trained any more."""
        own_part = [] if self.trained is self.parameters else [self.trained.value]
        for vector in [*self.optimizer_state, *own_part]:
            replace(vector, tf.zeros([0]))

    def _apply_eagerly(self, gradient: tf.Tensor) -> None:
        self.optimizer.apply([gradient], [self.trained])

    @tf.autograph.experimental.do_not_convert
    def losses_of(self, parameters: tf.Variable, buffers: tf.Variable, counters: Sequence[tf.Variable], inputs: tf.Tensor,
                  targets: tf.Tensor, measures: Sequence, counted: tf.Tensor) -> list[tf.Tensor]:
        """The loss that is trained on, and each measure, summed over the samples, in inference mode, float64.

        To the loss belongs what layers add to it, as in Keras's `evaluate`; to the measures it does not.

        Args:
            measures: each gives a number a sample, or several, whose sums are then a vector.
            counted: the number of samples that are counted, float64: a penalty belongs to each of them.
        """
        outputs, penalties = self.flat.outputs_and_penalties(parameters, buffers, counters, inputs)
        loss_sum, *sums = [tf.reduce_sum(tf.cast(measure(targets, outputs), tf.float64), axis=0)
                           for measure in (self.flat.loss, *measures)]
        if penalties:
            loss_sum += counted * tf.cast(tf.add_n(penalties), tf.float64)
        return [loss_sum, *sums]
