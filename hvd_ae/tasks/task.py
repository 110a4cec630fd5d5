"""What every objective says: what a model is given, what its outputs are compared with, and what is reported."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from hvd_ae.data.checks import Range
from hvd_ae.data.normalization import Normalization
from hvd_ae.data.source import SAMPLES, Field
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Learner

Example = Mapping[str, tf.Tensor]  # by field, (samples, *shape)


class Task(ABC):
    """An objective. A new one is a subclass in a file of its own; `hvd_ae.train` and `Session` take it as `task`.

    fields: the fields that are read of each sample.
    loss: from (targets, outputs) to one number a sample, float32 (samples,); trained on, and reported as `val_loss`.
    reconstructs: whether outputs are the samples again, so that a picture can show both beside each other.
    metrics: what else is reported of the validation samples after each epoch: by name, functions of the same kind. They are
        given raw units, and the loss what the model sees.
    normalized: the fields that are normalized as the settings say; None for all that hold numbers.
    input_field: the field that the model is given as it is, so that a saved model can take it raw; None where there is none.
    output_field: the field of whose kind outputs are, so that a saved model can give them raw; None where they are of none.
    """

    reconstructs = False
    normalized: tuple[str, ...] | None = None
    input_field: str | None = SAMPLES
    output_field: str | None = None
    fields: tuple[str, ...]
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    metrics: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]

    @abstractmethod
    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        """The model for samples of these fields; called once on every rank, whose first parameters the root's replace.

        The model belongs to the training from then on: its variables are empty until the end.

        Raises:
            Refused: the data do not fit, or there is no such model.
        """

    def build_learner(self, spec: Mapping[str, Field], optimizer: keras.optimizers.Optimizer, rank: int,
                      part_of: Callable[[int], tuple[int, int] | None]) -> Learner:
        """What computes gradients and takes steps; a training step of one's own is a subclass of it, returned from here.

        Args:
            part_of: from a number of parameters to (first, count) of those that this rank's optimizer updates; None for all.
        """
        flat = FlatModel(self.build_model(spec), self.loss)
        return Learner(flat, optimizer, rank, part_of(flat.layout.size))

    @abstractmethod
    def select(self, example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        """The model's inputs, and what its outputs are compared with, from fields as the model sees them; in the graph."""

    def allowed(self) -> Mapping[str, Range]:
        """By field, the values that can be trained on, where not all finite ones can."""
        return {}


def as_seen(example: Example, spec: Mapping[str, Field], fill: bool = True) -> dict[str, tf.Tensor]:
    """Fields as the model sees them: float32, scaled and normalized, but for whole numbers that name something.

    Args:
        fill: whether something is put in the place of what is missing, which stays NaN otherwise.
    """
    return {name: value if spec[name].dtype.kind == "i" else _as_seen(value, spec[name], fill)
            for name, value in example.items()}


def _as_seen(value: tf.Tensor, field: Field, fill: bool) -> tf.Tensor:
    value, by = tf.cast(value, tf.float32) * tf.constant(field.scale, tf.float32), field.normalization
    if by is None:
        return value
    value = ((tf.math.log1p(value) if by.logarithm else value) - by.shift) * by.factor
    return tf.where(tf.math.is_nan(value), by.fill, value) if fill and by.fill is not None else value


def restored(values: tf.Tensor, by: Normalization | None) -> tf.Tensor:
    """Normalized values in raw units, float32."""
    if by is None:
        return values
    values = tf.cast(values, tf.float32) * by.scale + by.shift
    return tf.math.expm1(values) if by.logarithm else values


def inputs_and_targets(task: Task, example: Example, spec: Mapping[str, Field]) -> tuple[tf.Tensor, tf.Tensor]:
    """What the model is given of fields as they are read, and what its outputs are compared with: NaN where it is missing."""
    inputs, targets = task.select(as_seen(example, spec))
    if may_be_missing(task, spec):
        _, targets = task.select(as_seen(example, spec, fill=False))
    return inputs, targets


def may_be_missing(task: Task, spec: Mapping[str, Field]) -> bool:
    """Whether values may be missing in any of the fields of a task."""
    return any(by is not None and by.fill is not None for by in (spec[name].normalization for name in task.fields))


def normalization_of(field: str | None, spec: Mapping[str, Field]) -> Normalization | None:
    """That of a task's `input_field` or `output_field`."""
    return None if field is None or field not in spec else spec[field].normalization


def specs_of(fields: tuple[str, ...], spec: Mapping[str, Field]) -> dict[str, tf.TensorSpec]:
    """What a graph is given: these fields of any number of samples, as they are read."""
    return {name: tf.TensorSpec([None, *spec[name].shape], spec[name].dtype) for name in fields}
