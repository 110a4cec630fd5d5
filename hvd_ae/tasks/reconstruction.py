"""The autoencoder: to give back the input through a narrow code.

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647
"""

from collections.abc import Mapping

import keras
import tensorflow as tf

from hvd_ae.data.checks import Range
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, Field, Splits
from hvd_ae.errors import Refused
from hvd_ae.models import autoencoders
from hvd_ae.models.autoencoders import CODE, OUTPUT, SAMPLE, Wanted
from hvd_ae.models.build import build
from hvd_ae.models.network import Condition
from hvd_ae.settings.tasks import COUNT_LOSSES
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.labels import count_classes
from hvd_ae.tasks.losses import OF_EACH, loss_for, losses_for
from hvd_ae.tasks.measures import CORRELATION, R2
from hvd_ae.tasks.task import Example, Task


class Reconstruction(Task):
    """The autoencoder that the settings describe; inputs and targets are the samples, and a condition is a second input.

    With `code_l1` a code's absolute values are added to the loss, so that most of it is 0.
    """

    reconstructs = True

    def __init__(self, settings: TrainSettings):
        """Settings are resolved ones."""
        self.settings = s = settings
        self.condition_field = {None: None, LABELS: LABELS}.get(s.condition, CONDITION)
        fields = (SAMPLES, self.condition_field, self.target_field)
        self.fields = tuple(dict.fromkeys(name for name in fields if name is not None))
        self.compares_raw = s.loss in COUNT_LOSSES
        self.output_field = None if self.compares_raw else self.target_field
        self._base = loss_for(s.loss, s.missing)
        self.judges_output = not s.code_l1 and (s.loss not in OF_EACH or not OF_EACH[s.loss].others)
        if s.code_l1:
            self.parts = {"val_reconstruction": self._base, "val_code_l1": _l1_of_code}
        self.metrics = {"val_mse": losses_for(s.missing)["mse"], "val_r2": R2, "val_correlation": CORRELATION}
        self._classes: int | None = None

    def loss(self, targets, outputs) -> tf.Tensor:
        loss = self._base(targets, outputs)
        return loss + self.settings.code_l1 * _l1_of_code(targets, outputs) if self.settings.code_l1 else loss

    def look(self, source: Splits) -> None:
        if self.condition_field == LABELS:
            self._classes = count_classes(source)

    def wanted(self, spec: Mapping[str, Field]) -> Wanted:
        """What the task wants of a model."""
        s, condition = self.settings, None
        if self.condition_field is not None:
            condition = Condition(spec[self.condition_field].shape, self._classes)
        heads: dict[str, str | None] = {OUTPUT: s.output_activation}
        if s.loss in OF_EACH:
            heads = {OUTPUT: OF_EACH[s.loss].activation or s.output_activation, **OF_EACH[s.loss].others}
        return Wanted(spec[self.target_field].shape, heads, condition, gives_code=bool(s.code_l1))

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        if self.compares_raw and spec[self.target_field].scale != 1.0:
            raise Refused(f"loss={self.settings.loss!r} is of counts, and these {self.target_field} are bytes, which become "
                          "0 to 1 here: save them as int32 or float32")
        return build(self.settings, spec, SAMPLES, self.wanted(spec))

    def select(self, example: Example):
        return self.given(example[SAMPLES], example), example[self.target_field]

    def given(self, samples: tf.Tensor, example: Example):
        """What the model is given: samples, and the condition beside them."""
        if self.condition_field is None:
            return samples
        return {SAMPLE: samples, autoencoders.CONDITION: example[self.condition_field]}

    def allowed(self) -> Mapping[str, Range]:
        """Within 0 to 1, where the loss or the last activation needs it; counts from 0.

        A sigmoid can be trained with squared error on minmax of the training samples, beyond which validation samples lie.
        """
        s = self.settings
        way_out = "rescale the data, or use --normalize minmax or " if s.normalize == "none" else "use --normalize minmax or "
        if self.compares_raw:
            return {self.target_field: Range(0.0, of_raw=True, otherwise=f"but loss={s.loss!r} is of counts, which are never "
                                             "below 0: use --loss mse")}
        if s.loss == "bce":
            return {self.target_field: Range(0.0, 1.0, f"but loss='bce' is defined within 0 to 1: {way_out}--loss mse")}
        if s.output_activation == "sigmoid":
            return {self.target_field: Range(0.0, 1.0, f"but a sigmoid output stays within 0 to 1: {way_out}"
                                             "--output-activation linear", of_training=s.normalize != "none")}
        return {}


def _l1_of_code(targets, outputs) -> tf.Tensor:
    """The sum of a code's absolute values, (samples,)."""
    return tf.reduce_sum(tf.abs(tf.cast(outputs[CODE], tf.float32)), axis=-1)
