"""What every objective says: what a model is given, what its outputs are compared with, and what is reported."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from hvd_ae.data.checks import Range
from hvd_ae.data.source import Field
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Learner

Example = Mapping[str, tf.Tensor]  # by field, (samples, *shape)


class Task(ABC):
    """An objective. A new one is a subclass in a file of its own; `hvd_ae.train` and `Session` take it as `task`.

    fields: the fields that are read of each sample.
    loss: from (targets, outputs) to one number a sample, float32 (samples,); trained on, and reported as `val_loss`.
    reconstructs: whether outputs are the samples again, so that a picture can show both beside each other.
    metrics: what else is reported of the validation samples after each epoch: by name, functions of the same kind.
    """

    reconstructs = False
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


def as_seen(example: Example, spec: Mapping[str, Field]) -> dict[str, tf.Tensor]:
    """Fields as the model sees them: float32 and scaled, but for whole numbers that name something."""
    return {name: value if spec[name].dtype.kind == "i"
            else tf.cast(value, tf.float32) * tf.constant(spec[name].scale, tf.float32) for name, value in example.items()}


def specs_of(fields: tuple[str, ...], spec: Mapping[str, Field]) -> dict[str, tf.TensorSpec]:
    """What a graph is given: these fields of any number of samples, as they are read."""
    return {name: tf.TensorSpec([None, *spec[name].shape], spec[name].dtype) for name in fields}
