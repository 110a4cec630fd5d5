"""What a compiled Keras model says itself: its loss and metrics, with a weight for each sample where there are any."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from hvd_ae.data.source import SAMPLES, TARGETS, Field
from hvd_ae.models.compiled import check_comparing, loss_of, metrics_of
from hvd_ae.tasks.task import Example, Task

WEIGHT = "weight"


class Compiled(Task):
    """The objective of `model.compile`; targets are the samples where there are no others.

    As in Keras a sample's loss is multiplied by its weight and a batch's divided by the number of samples, not by the sum
    of the weights; metrics are not weighted.

    Args:
        fields: those of the data.
    """

    normalized = (SAMPLES,)

    def __init__(self, model: keras.Model, fields: Mapping[str, Field]):
        self._model, self._is_weighted = model, WEIGHT in fields
        self._targets = TARGETS if TARGETS in fields else SAMPLES
        self.fields = tuple(name for name in (SAMPLES, TARGETS, WEIGHT) if name in fields)
        self._shape = fields[self._targets].shape
        self._loss = loss_of(model)
        metrics = metrics_of(model, self._shape, self._is_weighted)
        check_comparing(model, self._shape, (self._loss, *metrics.values()))
        self.metrics = {name: self._unweighted(metric) for name, metric in metrics.items()}

    def loss(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        own, weights = self._apart(targets)
        loss = self._loss(own, outputs)
        return loss if weights is None else loss * weights

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        return self._model

    def select(self, example: Example):
        samples, targets = example[SAMPLES], example[self._targets]
        if self._is_weighted:  # beside the targets, as a last number of each sample
            flat = tf.reshape(targets, [tf.shape(targets)[0], -1])
            targets = tf.concat([flat, tf.reshape(example[WEIGHT], [-1, 1])], axis=1)
        return samples, targets

    def _apart(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        if not self._is_weighted:
            return targets, None
        return tf.reshape(targets[:, :-1], [-1, *self._shape]), targets[:, -1]

    def _unweighted(self, metric: Callable) -> Callable:
        return lambda targets, outputs: metric(self._apart(targets)[0], outputs)
