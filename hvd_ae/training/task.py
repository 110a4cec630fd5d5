"""What a model is trained for: to give back its inputs, or to tell their labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from hvd_ae.config import TrainSettings
from hvd_ae.models.build import build_model
from hvd_ae.models.losses import LOSSES, label_crossentropy


@dataclass(frozen=True)
class Task:
    """A model to train, what its outputs are compared with, and how.

    build: makes the model; called once on every rank, whose first parameters the root's then replace. The model belongs to
        the training from then on: its variables are empty until the end.
    loss: from (targets, outputs) to one number a row.
    measures: what is reported of the validation samples after each epoch beside `val_loss`: by name, functions of the same
        kind.
    of_labels: whether the targets are the samples' labels; otherwise they are the samples themselves.
    """

    build: Callable[[], keras.Model]
    loss: Callable
    measures: Mapping[str, Callable]
    of_labels: bool


def reconstruction(settings: TrainSettings, sample_shape: tuple[int, ...]) -> Task:
    """The autoencoder that the settings describe."""
    return Task(
        build=lambda: build_model(settings.model, sample_shape, settings.output_activation, settings.seed,
                                  settings.precision),
        loss=LOSSES[settings.loss],
        measures={"val_mse": LOSSES["mse"]},
        of_labels=False,
    )


def classification(build: Callable[[], keras.Model]) -> Task:
    """A classifier whose outputs are one logit for each of the labels 0, 1, ..."""
    return Task(build, label_crossentropy, measures={}, of_labels=True)
