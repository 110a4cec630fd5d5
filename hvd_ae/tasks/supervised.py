"""To give targets of any shape, that lie beside the samples."""

import dataclasses
from collections.abc import Mapping

import keras

from hvd_ae.data.source import SAMPLES, TARGETS, Field
from hvd_ae.models.autoencoders import Wanted
from hvd_ae.tasks.reconstruction import Reconstruction


class Supervised(Reconstruction):
    """The network's encoder, and a layer behind its code; where targets have the samples' shape, its decoder too."""

    reconstructs = False
    target_field = TARGETS

    def wanted(self, spec: Mapping[str, Field]) -> Wanted:
        return dataclasses.replace(super().wanted(spec), has_decoder=spec[TARGETS].shape == spec[SAMPLES].shape)

    def finished(self, model: keras.Model) -> dict[str, keras.Model]:
        return {name: part for name, part in super().finished(model).items() if name != "decoder"}
