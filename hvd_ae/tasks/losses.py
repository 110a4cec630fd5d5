"""Losses, one number a sample, so that every mean over ranks can be a mean over samples.

Where values may be missing, targets hold NaN in their places, and a sample's loss is the mean over the features that are
there: what is missing reaches neither a loss nor a gradient, and a feature that is there counts more the fewer there are. A
sample of which nothing is there has a loss of 0. In a validation mean it is not counted; in training it is one of the
samples that a batch's gradient and `train_loss` are divided by, since all ranks know that number without a word.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from hvd_ae.models.autoencoders import CODE, LOG_VARIANCE, MEAN, OUTPUT
from hvd_ae.runtime.users import find_by_path

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class OfEach:
    """A loss of each feature by itself.

    of_each: from targets, outputs and `others`, all (samples, features) float32, to as many losses.
    others: what else a model has to give, by name, and the activation that it needs.
    activation: of the output, where it is not the data that say.
    to_nats: from a feature's loss to minus the logarithm of a probability; None where it is that of no distribution.
    """

    of_each: Callable[..., tf.Tensor]
    others: Mapping[str, str | None] = field(default_factory=dict)
    activation: str | None = None
    to_nats: Callable[[tf.Tensor], tf.Tensor] | None = lambda losses: losses

    def mean(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Over the features of each sample, shape (samples,)."""
        return tf.reduce_mean(self.of_each(as_vectors(targets), *self._given(outputs)), axis=-1)

    def mean_of_present(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """As `mean`, of the targets that are not NaN."""
        losses, there = self._of_present(targets, outputs)
        return tf.reduce_sum(losses, axis=-1) / tf.maximum(_count(there), 1.0)

    def nats(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Minus the logarithm of the probability of what is there of each sample, shape (samples,)."""
        losses, there = self._of_present(targets, outputs)
        return tf.reduce_sum(tf.where(there, self.to_nats(losses), 0.0), axis=-1)

    def _of_present(self, targets: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        targets = as_vectors(targets)
        there = ~tf.math.is_nan(targets)
        # before and after: the gradient of what is left out would be NaN times 0
        return tf.where(there, self.of_each(tf.where(there, targets, 0.0), *self._given(outputs)), 0.0), there

    def _given(self, outputs: tf.Tensor | Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        if not isinstance(outputs, Mapping):
            return [as_vectors(outputs)]
        return [as_vectors(outputs[name]) for name in (OUTPUT, *self.others)]


def _huber(targets, outputs):
    """Squared up to a distance of 1, and linear beyond it (Huber 1964, https://doi.org/10.1214/aoms/1177703732)."""
    distance = tf.abs(targets - outputs)
    return tf.where(distance <= 1.0, 0.5 * tf.square(distance), distance - 0.5)


def _absolute(targets, outputs):
    return tf.abs(targets - outputs)


def _poisson(counts, mean):
    return mean - counts * tf.math.log(mean) + tf.math.lgamma(counts + 1.0)


def _negative_binomial(counts, mean, dispersion):
    """Of mean m and variance m + m^2 / dispersion (Eraslan et al. 2019, https://doi.org/10.1038/s41467-018-07931-2)."""
    log_sum = tf.math.log(dispersion + mean)
    return (tf.math.lgamma(dispersion) + tf.math.lgamma(counts + 1.0) - tf.math.lgamma(counts + dispersion)
            + dispersion * (log_sum - tf.math.log(dispersion)) + counts * (log_sum - tf.math.log(mean)))


def _zero_inflated(counts, mean, dispersion, dropout):
    """The same, but that with a probability, whose logit is `dropout`, a count is lost and is 0."""
    kept, lost = tf.math.softplus(dropout), tf.math.softplus(-dropout)  # minus the logarithms of both probabilities
    seen = kept + _negative_binomial(counts, mean, dispersion)
    none = kept + dispersion * (tf.math.log(dispersion + mean) - tf.math.log(dispersion))
    either = -tf.reduce_logsumexp(tf.stack([-lost, -none]), axis=0)
    return tf.where(counts > 0.0, seen, either)


_DISPERSION = {"dispersion": "exponential"}
OF_EACH = {
    "mse": OfEach(tf.math.squared_difference, to_nats=lambda losses: 0.5 * losses + 0.5 * math.log(2.0 * math.pi)),
    "mae": OfEach(_absolute, to_nats=lambda losses: losses + math.log(2.0)),
    "huber": OfEach(_huber, to_nats=None),
    "bce": OfEach(keras.ops.binary_crossentropy),
    "poisson": OfEach(_poisson, activation="exponential"),
    "nb": OfEach(_negative_binomial, _DISPERSION, "exponential"),
    "zinb": OfEach(_zero_inflated, {**_DISPERSION, "dropout": None}, "exponential"),
}
LOSSES: Mapping[str, Loss] = {name: loss.mean for name, loss in OF_EACH.items()}
_OF_PRESENT: Mapping[str, Loss] = {name: loss.mean_of_present for name, loss in OF_EACH.items()}


def losses_for(missing: str) -> Mapping[str, Loss]:
    """By name, where values may be missing and where not (`missing` is "refuse")."""
    return LOSSES if missing == "refuse" else _OF_PRESENT


def loss_for(name: str, missing: str) -> Loss:
    """That of a name, or a user's own by its path, "package.module:function", averaged over what it returns of a sample.

    Raises:
        Refused: there is no such module or function.
    """
    if name in OF_EACH:
        return losses_for(missing)[name]
    function = _users(name)
    return lambda targets, outputs: tf.reduce_mean(as_vectors(function(targets, _for_user(outputs))), axis=-1)


def nats_for(name: str) -> Loss:
    """As `OfEach.nats`; of a user's own, the sum over what it returns of a sample."""
    if name in OF_EACH:
        return OF_EACH[name].nats
    function = _users(name)
    return lambda targets, outputs: tf.reduce_sum(as_vectors(function(targets, _for_user(outputs))), axis=-1)


def _users(path: str) -> Loss:
    return find_by_path("loss", path, "my_losses:distance", "(targets, outputs)` there, returning a loss of each sample")


def _for_user(outputs):
    """Without what a task has added to the outputs of a model."""
    own = {name: value for name, value in outputs.items() if name not in (CODE, MEAN, LOG_VARIANCE)} if isinstance(
        outputs, Mapping) else {OUTPUT: outputs}
    return own if len(own) > 1 else own[OUTPUT]


squared_error = LOSSES["mse"]


def label_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each sample in nats, shape (samples,); labels are (samples,) int64, and the softmax is taken here."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def is_any_present(targets: tf.Tensor) -> tf.Tensor:
    """Whether anything of a sample is there, as 1 or 0, float32 (samples,)."""
    if not targets.dtype.is_floating:
        return tf.ones(tf.shape(targets)[:1])
    return tf.minimum(_count(~tf.math.is_nan(as_vectors(targets))), 1.0)


def _count(there: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(there, tf.float32), axis=-1)


def as_vectors(values: tf.Tensor) -> tf.Tensor:
    """(samples, features) float32, whatever the layers computed in."""
    return tf.cast(tf.reshape(values, [tf.shape(values)[0], -1]), tf.float32)
