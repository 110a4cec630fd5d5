"""The denoising autoencoder: inputs are corrupted, and what they were before is to be given back.

Vincent et al. 2010, https://jmlr.org/papers/v11/vincent10a.html
"""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.data.source import SAMPLES, TARGETS, Field, Source
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import SAMPLE
from hvd_ae.settings.tasks import noise_of
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.draws import Draws
from hvd_ae.tasks.reconstruction import Reconstruction
from hvd_ae.tasks.task import VALIDATION, Example, as_seen, given_to_saved, restored, with_counters


class Denoising(Reconstruction):
    """Noise is drawn anew for each sample in each epoch, or measured: then the samples are noisy, and targets are clean.

    Validation samples have the same noise in every epoch, and all that is reported is of samples with it.
    """

    def __init__(self, settings: TrainSettings):
        if settings.targets is not None:
            self.target_field = TARGETS
        super().__init__(settings)
        self._noises = noise_of(settings.noise) if settings.noise is not None else []
        self.draws = self.metrics_draw = bool(self._noises)
        self._lowest, self._highest = 0.0, 1.0

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        if spec[self.target_field].shape != spec[SAMPLES].shape:
            raise Refused(f"targets={self.settings.targets!r} has the shape {spec[self.target_field].shape} a sample, and "
                          f"noisy samples {spec[SAMPLES].shape}: give clean ones of the same shape, or use --task supervised")
        self.for_saved(spec, ())
        return super().build_model(spec)

    def for_saved(self, spec: Mapping[str, Field], code: tuple[int, ...]) -> None:
        self._spec, by = spec, spec[SAMPLES].normalization
        if by is not None and by.bounds is not None:
            self._lowest, self._highest = by.bounds

    def select(self, example: Example):
        inputs, targets = super().select(example)
        if self.condition_field is None:
            return self._corrupted(inputs, example), targets
        return self.given(self._corrupted(example[SAMPLES], example), example), targets

    def shown(self, model: keras.Model, source: Source, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Clean samples, what noise makes of them, and what the model makes of that."""
        example = with_counters(self, source.read(indices, self.fields), indices, VALIDATION)
        seen = as_seen(example, self._spec)
        by = self._spec[SAMPLES].normalization
        noisy = restored(self._corrupted(seen[SAMPLES], seen), by)
        condition = given_to_saved(self, source.read(indices, self.fields), source.fields)
        denoised = model({**condition, SAMPLE: noisy} if self.condition_field else noisy, training=False)
        return {"clean": source.seen(indices, self.target_field), "noisy": noisy, "denoised": denoised}

    def _corrupted(self, samples: tf.Tensor, example: Example) -> tf.Tensor:
        for stream, (kind, amount) in enumerate(self._noises):
            draws = Draws.of(example, self.settings.seed, stream)
            if draws is not None:
                samples = getattr(self, f"_with_{kind}")(samples, draws, amount)
        return samples

    def _with_gaussian(self, samples: tf.Tensor, draws: Draws, deviation: float) -> tf.Tensor:
        return samples + deviation * draws.normal(tuple(samples.shape[1:]))

    def _with_mask(self, samples: tf.Tensor, draws: Draws, part: float) -> tf.Tensor:
        return tf.where(draws.uniform(tuple(samples.shape[1:])) < part, 0.0, samples)

    def _with_salt(self, samples: tf.Tensor, draws: Draws, part: float) -> tf.Tensor:
        """Half of that part becomes the lowest, half the highest value that training samples have, 0 and 1 if unknown."""
        drawn = draws.uniform(tuple(samples.shape[1:]))
        return tf.where(drawn < 0.5 * part, self._lowest, tf.where(drawn < part, self._highest, samples))
