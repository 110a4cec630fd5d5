"""Networks of dense layers; `shallow`, `stacked` and `deep` are those of fixed widths, whose codes are above 0."""

import keras

from hvd_ae.models.network import Network, joined
from hvd_ae.settings.models import widths_of
from hvd_ae.settings.train import TrainSettings

# Widths up to the code; the decoder mirrors them.
FIXED = {"shallow": (32,), "stacked": (392, 196), "deep": (512, 256, 128, 64, 32)}


class Dense(Network):
    """Fully connected layers, mirrored (Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647)."""

    def __init__(self, settings: TrainSettings, sample_shape: tuple[int, ...]):
        if settings.model in FIXED:
            *widths, self.code = FIXED[settings.model]
            self.code_activation = self._activation = "relu"
            self._widths, self._dropout, self._batch_norm = tuple(widths), 0.0, False
            return
        self._widths, self.code = widths_of(settings.widths), settings.code
        self._activation, self._dropout, self._batch_norm = settings.activation, settings.dropout, settings.batch_norm

    def encode(self, sample, condition):
        values = joined(keras.layers.Flatten(name="flatten")(sample), condition, "sample_and_condition")
        for position, width in enumerate(self._widths, 1):
            values = self._layer(values, width, position)
        return values

    def decode(self, code):
        for position, width in enumerate(reversed(self._widths), len(self._widths) + 2):  # the code is counted
            code = self._layer(code, width, position)
        return code

    def _layer(self, values, width: int, position: int):
        if not self._batch_norm:
            values = keras.layers.Dense(width, activation=self._activation, name=f"hidden_{position}")(values)
        else:
            values = keras.layers.Dense(width, name=f"hidden_{position}", use_bias=False)(values)
            values = keras.layers.BatchNormalization(name=f"normalized_{position}")(values)
            values = keras.layers.Activation(self._activation, name=f"activated_{position}")(values)
        return keras.layers.Dropout(self._dropout, name=f"dropout_{position}")(values) if self._dropout else values
