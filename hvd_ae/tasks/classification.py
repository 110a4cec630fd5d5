"""To tell each sample's label."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from hvd_ae.data.source import LABELS, SAMPLES, Field, Splits
from hvd_ae.models.autoencoders import OUTPUT, Wanted
from hvd_ae.models.build import build
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.labels import count_classes
from hvd_ae.tasks.losses import label_crossentropy
from hvd_ae.tasks.task import Example, Task


class Classification(Task):
    """A classifier whose outputs are one logit for each of the labels 0, 1, ...: the encoder, and a layer behind its code."""

    fields = (SAMPLES, LABELS)
    loss = staticmethod(label_crossentropy)

    def __init__(self, settings: TrainSettings):
        self.settings, self._classes = settings, 0
        self.metrics = {"val_accuracy": _is_right}

    def look(self, source: Splits) -> None:
        self._classes = count_classes(source)

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        return build(self.settings, spec, SAMPLES, Wanted((self._classes,), {OUTPUT: None}, has_decoder=False))

    def select(self, example: Example):
        return example[SAMPLES], example[LABELS]

    def finished(self, model: keras.Model) -> dict[str, keras.Model]:
        return {name: part for name, part in super().finished(model).items() if name != "decoder"}


def _is_right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Whether the largest logit is that of the label, as 1 or 0, (samples,)."""
    return tf.cast(tf.argmax(logits, axis=-1) == tf.cast(labels, tf.int64), tf.float32)
