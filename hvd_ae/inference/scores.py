"""How odd a sample is, one number each: of its reconstruction, of its code, or of both."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.data.source import EPOCH, LABELS, NUMBER, SAMPLES, Field
from hvd_ae.errors import Refused
from hvd_ae.inference.functions import given, main_of
from hvd_ae.inference.gaussian import Gaussian
from hvd_ae.inference.judging import Judged
from hvd_ae.models.autoencoders import MEAN, SAMPLE
from hvd_ae.models.raw_units import in_both_units
from hvd_ae.tasks.task import VALIDATION

WIDEST = 2048  # numbers of which a covariance is taken
_OF_CODE = ("mahalanobis", "code-distance")
_DRAWS = 8


Errors = Callable[[Mapping[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class Parts:
    """A saved model, taken apart for scores.

    model: as it was saved: it takes raw samples, and gives raw units.
    encoder: the same; None where there is none.
    is_wrapped: whether normalization is inside.
    spec: the fields of the samples.
    condition: the field that the models are given beside samples; None for those of samples alone.
    """

    model: keras.Model
    encoder: keras.Model | None
    is_wrapped: bool
    spec: Mapping[str, Field]
    condition: str | None = None

    @property
    def code(self) -> int:
        """Numbers of a code; 0 where there is none."""
        if self.encoder is None:
            return 0
        output = self.encoder.output
        return math.prod((output[MEAN] if isinstance(output, Mapping) else output).shape[1:])

    def errors(self) -> Errors:
        """From fields as they are read to output minus target, (samples, features), 0 where it is missing; and where not.

        In the units in which the model was trained, so that a feature of large numbers counts no more than others.
        """
        both = in_both_units(self.model) if self.is_wrapped else None

        def function(example: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            taken = given(example, self.spec, self.condition)
            samples = taken[SAMPLE] if isinstance(taken, dict) else taken
            targets, outputs = (both(taken, training=False)[:2] if both is not None
                                else (samples, self.model(taken, training=False)))
            targets, outputs = (tf.reshape(tf.cast(each, tf.float32), [samples.shape[0], -1]) for each in (targets, outputs))
            there = ~tf.math.is_nan(targets)
            return tf.where(there, outputs - targets, 0.0), tf.cast(there, tf.float32)

        return function


class Scoring:
    """A kind of score, for `Blocks`.

    mse, mae: mean squared or absolute error over the features that are there.
    mahalanobis: squared Mahalanobis distance of the errors and the code together, over their number, from those of the
        reference samples; of the errors alone where there is no code.
    code-distance: the same of the code alone.
    elbo: minus the evidence lower bound in nats, the mean of some draws of the code by the number of a sample (An and Cho
        2015); which features it comes from is said by the squared error.

    Args:
        reference: for the distances, of `vectors` of the reference samples.
        judged: for elbo, the run's task and models; an example then needs `NUMBER`.

    Raises:
        Refused: the model has no code, or too many numbers for a covariance.
    """

    def __init__(self, kind: str, parts: Parts, reference: Gaussian | None = None, judged: Judged | None = None):
        self.kind, self.reference, self._parts, self._judged = kind, reference, parts, judged
        if kind == "elbo" and (judged is None or "val_elbo" not in judged.task.parts):
            raise Refused("score='elbo' is of a run of --task variational: use --score mse, or mahalanobis")
        if kind == "code-distance" and parts.encoder is None:
            raise Refused("score='code-distance' needs a code, and this run has no encoder.keras: use --score mse")
        self._errors = parts.errors()
        if self.needs_reference and self.width > WIDEST:
            raise Refused(f"score={kind!r} takes a covariance of at most {WIDEST:,} numbers a sample, and here are "
                          f"{self.width:,}: use --score mse")

    @property
    def needs_reference(self) -> bool:
        return self.kind in _OF_CODE

    @property
    def width(self) -> int:
        """Numbers of a sample that its score is made of."""
        features = int(np.prod(self._parts.spec[SAMPLES].shape))
        code = self._parts.code
        return {"mahalanobis": features + code, "code-distance": code}.get(self.kind, features)

    def vectors(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`vectors`, float32 (samples, width)."""
        parts, encoder = self._parts, self._parts.encoder
        found = [] if self.kind == "code-distance" else [self._errors(example)[0]]
        if encoder is not None:
            code = main_of(encoder(given(example, parts.spec, parts.condition), training=False))
            found.append(tf.reshape(code, [code.shape[0], -1]))
        return {"vectors": tf.concat(found, axis=1)}

    def scores(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`scores`, float32 (samples,), and labels as they are."""
        others = {LABELS: example[LABELS]} if LABELS in example else {}
        scores = self._minus_elbo(example) if self.kind == "elbo" else tf.reduce_sum(self._terms(example), axis=1)
        return {"scores": tf.cast(scores, tf.float32), **others}

    def _minus_elbo(self, example: Mapping[str, tf.Tensor]) -> tf.Tensor:
        of_draws, fields = [], (*self._judged.task.fields, NUMBER)
        for draw in range(_DRAWS):
            epochs = tf.fill(tf.shape(example[NUMBER]), tf.constant(VALIDATION - draw, tf.int64))
            taken = {name: tf.convert_to_tensor(values) for name, values in example.items() if name in fields}
            of_draws.append(self._judged.columns({**taken, EPOCH: epochs}, ("val_elbo",))["val_elbo"][:, 0])
        return -tf.add_n(of_draws) / _DRAWS

    def shares(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`shares`, float32 (samples, width): what part of the score each number has; they add up to 1."""
        terms = self._terms(example)
        return {"shares": tf.cast(tf.math.divide_no_nan(terms, tf.reduce_sum(terms, axis=1, keepdims=True)), tf.float32)}

    def _terms(self, example: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What a score is the sum of."""
        if self.needs_reference:
            apart = tf.cast(self.vectors(example)["vectors"], tf.float64) - self.reference.mean
            return apart * tf.matmul(apart, self.reference.precision) / self.width
        errors, there = self._errors(example)
        each = tf.abs(errors) if self.kind == "mae" else tf.square(errors)
        return each / tf.maximum(tf.reduce_sum(there, axis=1, keepdims=True), 1.0)
