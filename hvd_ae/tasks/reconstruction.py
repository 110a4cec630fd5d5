"""The autoencoder: to give back the input through a narrow code.

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647
"""

from collections.abc import Mapping

import keras

from hvd_ae.data.checks import Range
from hvd_ae.data.source import SAMPLES, Field
from hvd_ae.models.build import build_model
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.losses import losses_for
from hvd_ae.tasks.task import Example, Task


class Reconstruction(Task):
    """The autoencoder that the settings describe; inputs and targets are the samples."""

    reconstructs = True
    fields = (SAMPLES,)
    output_field = SAMPLES

    def __init__(self, settings: TrainSettings):
        self._settings = settings
        losses = losses_for(settings.missing)
        self.loss = losses[settings.loss]
        self.metrics = {"val_mse": losses["mse"]}

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        s = self._settings
        return build_model(s.model, spec[SAMPLES].shape, s.output_activation, s.seed, s.precision)

    def select(self, example: Example):
        return example[SAMPLES], example[SAMPLES]

    def allowed(self) -> Mapping[str, Range]:
        """Within 0 to 1, where the loss or the last activation needs it.

        A sigmoid can be trained with squared error on minmax of the training samples, beyond which validation samples lie.
        """
        s = self._settings
        way_out = "rescale the data, or use --normalize minmax or " if s.normalize == "none" else "use --normalize minmax or "
        if s.loss == "bce":
            return {SAMPLES: Range(0.0, 1.0, f"but loss='bce' is defined within 0 to 1: {way_out}--loss mse")}
        if s.output_activation == "sigmoid":
            return {SAMPLES: Range(0.0, 1.0, f"but a sigmoid output stays within 0 to 1: {way_out}--output-activation linear",
                                   of_training=s.normalize != "none")}
        return {}
