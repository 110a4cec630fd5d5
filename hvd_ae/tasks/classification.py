"""To tell each sample's label."""

from collections.abc import Callable, Mapping

import keras

from hvd_ae.data.source import LABELS, SAMPLES, Field
from hvd_ae.tasks.losses import label_crossentropy
from hvd_ae.tasks.task import Example, Task


class Classification(Task):
    """A classifier whose outputs are one logit for each of the labels 0, 1, ...

    Args:
        build: makes the model.
    """

    fields = (SAMPLES, LABELS)
    loss = staticmethod(label_crossentropy)
    metrics: Mapping[str, Callable] = {}

    def __init__(self, build: Callable[[], keras.Model]):
        self._build = build

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        return self._build()

    def select(self, example: Example):
        return example[SAMPLES], example[LABELS]
