"""Classifiers of features, trained on ranks by the same loop, and judged on every validation sample once."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.probe.features import mean_and_variance
from hvd_ae.config import TrainSettings
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.sources import Source
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.loop import Loop
from hvd_ae.training.session import Session, prepare, trainers
from hvd_ae.training.task import classification

# Measured on codes and components of Fashion-MNIST: with these the linear classifier ends within 0.01 nats of the
# minimum that scikit-learn's L-BFGS takes 200 to 400 passes to find, and within half a point of its accuracy.
_GLOBAL_BATCH, _EPOCHS, _STEPS_PER_EPOCH = 512, 30, 20  # of few samples the batches are smaller: at least 20 an epoch


@dataclass(frozen=True)
class Judgement:
    """What a trained classifier came to."""

    confusion: np.ndarray  # int64 (classes, classes): validation samples by their label (row) and what was said (column)
    train_loss: float  # cross-entropy in nats, mean over the last epoch's samples
    val_loss: float
    parameters: int
    samples: int  # trained on, over all ranks
    seconds: float  # of training, the slowest rank

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    def row(self) -> dict:
        """As plain values, for `probe.json`."""
        return {"accuracy": self.accuracy, "train_loss": self.train_loss, "val_loss": self.val_loss,
                "parameters": self.parameters, "samples": self.samples, "seconds": self.seconds,
                "confusion": self.confusion.tolist()}


def judge_linear(settings: TrainSettings, comm: Communicator, source: Source, classes: int) -> Judgement:
    """Multinomial logistic regression on features brought to mean 0 and variance 1 (every rank calls it).

    The same global batches on any number of ranks (nearly so, where ranks do not divide them), with Adam, its rate falling
    to zero; the more features a step moves at once, the smaller the rate.
    """
    ranks = trainers(settings, comm.world).size
    batch = max(1, min(_GLOBAL_BATCH, source.train.count // _STEPS_PER_EPOCH) // ranks)
    rate = 0.5 / math.sqrt(math.prod(source.train.sample_shape))
    settings = dataclasses.replace(settings, batch_size=batch, epochs=_EPOCHS, learning_rate=rate)
    mean, variance = mean_and_variance(source.train, comm)
    variance[variance <= 1e-12 * np.maximum(1.0, np.square(mean))] = 1.0  # what never changes stays at 0

    def build() -> keras.Model:
        return keras.Sequential([
            keras.Input(source.train.sample_shape),
            keras.layers.Flatten(),
            keras.layers.Normalization(mean=mean.astype(np.float32), variance=variance.astype(np.float32)),
            keras.layers.Dense(classes, kernel_initializer="zeros"),
        ], name="linear")

    return judge(settings, comm, source, build, classes, falling=True)


def judge_fine_tuned(settings: TrainSettings, comm: Communicator, source: Source, encoder: keras.Model,
                     classes: int) -> Judgement:
    """The encoder with a layer of 128 and one logit a class behind it, all of it trained (every rank calls it)."""

    def build() -> keras.Model:
        keras.utils.set_random_seed(settings.seed)
        own = keras.models.clone_model(encoder)
        own.set_weights(encoder.get_weights())
        return keras.Sequential([
            keras.Input(source.train.sample_shape),
            own,
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(classes),
        ], name="fine_tuned")

    return judge(settings, comm, source, build, classes)


def judge(settings: TrainSettings, comm: Communicator, source: Source, build: Callable[[], keras.Model],
          classes: int, falling: bool = False) -> Judgement:
    """Train the classifier of the source's labels that `build` makes, and see what it says (every rank calls it).

    Args:
        falling: whether the learning rate falls from epoch to epoch, linearly to zero.
    """
    session = prepare(settings, comm, source, classification(build))
    reports = []
    for progress in Loop(session, Cursor()).run():
        if progress.report:
            reports.append(progress.report)
            if falling:
                left = 1.0 - len(reports) / settings.epochs
                session.replica.optimizer.learning_rate = settings.learning_rate * left
    confusion = confusion_matrix(session, classes)
    session.strategy.close()
    last = reports[-1]
    return Judgement(confusion, last.train_loss, last.val_loss, session.replica.flat.layout.size, last.samples,
                     sum(report.seconds for report in reports))


def confusion_matrix(session: Session, classes: int) -> np.ndarray:
    """Validation samples of all ranks, by their label (row) and the largest logit (column), each counted once."""
    samples, strategy, comm = session.source.validation, session.strategy, session.comm

    @tf.function(input_signature=[tf.TensorSpec([None, *samples.sample_shape], samples.row_dtype)])
    def say(inputs):
        values = tf.cast(inputs, tf.float32) * tf.constant(samples.scale, tf.float32)
        return tf.argmax(strategy.replica.flat.outputs(*strategy.result, strategy.result_counters, values), axis=-1)

    share, batch = plan_evaluation(samples.count, comm.world), session.settings.batch_size
    counts = np.zeros((classes, classes), np.int64)
    for first in range(0, len(share), batch):
        mine = share[first : first + batch]
        np.add.at(counts, (samples.labels[mine], say(samples.rows(mine)).numpy()), 1)
    return comm.sum(counts.ravel()).numpy().reshape(counts.shape)
