"""Classifiers of features, trained on ranks by the same loop, and judged on every validation sample once."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.probe.features import mean_and_variance
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import LABELS, SAMPLES, Field, Splits
from hvd_ae.models.schedules import falling
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.classification import Classification
from hvd_ae.tasks.task import as_seen, specs_of
from hvd_ae.training.session import Session, trainers

# Measured on codes and components of Fashion-MNIST: with these the linear classifier ends within 0.01 nats of the
# minimum that scikit-learn's L-BFGS takes 200 to 400 passes to find, and within half a point of its accuracy.
_GLOBAL_BATCH, _EPOCHS, _STEPS_PER_EPOCH = 512, 30, 20  # of few samples the batches are smaller: at least 20 an epoch


@dataclass(frozen=True)
class ClassifierResult:
    """What a trained classifier came to."""

    confusion: np.ndarray  # int64 (classes, classes): validation samples by their label (row) and what was predicted (column)
    train_loss: float  # cross-entropy in nats, mean over the last epoch's samples
    val_loss: float
    parameters: int
    samples: int  # trained on, over all ranks
    seconds: float  # of training, the slowest rank

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    def record(self) -> dict:
        """As plain values, for `probe.json`."""
        return {"accuracy": self.accuracy, "train_loss": self.train_loss, "val_loss": self.val_loss,
                "parameters": self.parameters, "samples": self.samples, "seconds": self.seconds,
                "confusion": self.confusion.tolist()}


def train_linear(settings: TrainSettings, comm: Communicator, source: Splits, classes: int) -> ClassifierResult:
    """Multinomial logistic regression on features brought to mean 0 and variance 1 (every rank calls it).

    The same global batches on any number of ranks (nearly so, where ranks do not divide them), with Adam, its rate falling
    to zero; the more features a step moves at once, the smaller the rate.
    """
    ranks = trainers(settings, comm.world).size
    batch = max(1, min(_GLOBAL_BATCH, source.train.count // _STEPS_PER_EPOCH) // ranks)
    rate = 0.5 / math.sqrt(math.prod(source.train.fields[SAMPLES].shape))
    settings = dataclasses.replace(settings, batch_size=batch, epochs=_EPOCHS, learning_rate=rate)
    mean, variance = mean_and_variance(source.train, comm)
    variance[variance <= 1e-12 * np.maximum(1.0, np.square(mean))] = 1.0  # what never changes stays at 0

    def build() -> keras.Model:
        return keras.Sequential([
            keras.Input(source.train.fields[SAMPLES].shape),
            keras.layers.Flatten(),
            keras.layers.Normalization(mean=mean.astype(np.float32), variance=variance.astype(np.float32)),
            keras.layers.Dense(classes, kernel_initializer="zeros"),
        ], name="linear")

    return train_classifier(settings, comm, source, build, classes, rate_falls=True)


def train_fine_tuned(settings: TrainSettings, comm: Communicator, source: Splits, encoder: keras.Model,
                     classes: int) -> ClassifierResult:
    """The encoder with a layer of 128 and one logit a class behind it, all of it trained (every rank calls it)."""

    def build() -> keras.Model:
        keras.utils.set_random_seed(settings.seed)
        own = keras.models.clone_model(encoder)
        own.set_weights(encoder.get_weights())
        return keras.Sequential([
            keras.Input(source.train.fields[SAMPLES].shape),
            own,
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(classes),
        ], name="fine_tuned")

    return train_classifier(settings, comm, source, build, classes)


def train_classifier(settings: TrainSettings, comm: Communicator, source: Splits, build: Callable[[], keras.Model],
                     classes: int, rate_falls: bool = False) -> ClassifierResult:
    """Train the classifier of the source's labels that `build` makes, and see what it predicts (every rank calls it).

    Args:
        rate_falls: whether the learning rate falls from epoch to epoch, linearly to zero.
    """
    schedule = (lambda updates: falling(settings.learning_rate, settings.epochs, updates)) if rate_falls else None
    with Session(settings, comm, source, _Built(settings, build), schedule=schedule) as session:
        reports = session.run()
        confusion = confusion_matrix(session, classes)
    last = reports[-1]
    return ClassifierResult(confusion, last.train_loss, last.val_loss, session.learner.flat.layout.size, last.samples,
                            sum(report.seconds for report in reports))


class _Built(Classification):
    """A classifier whose model is there already, or its making known."""

    def __init__(self, settings: TrainSettings, build: Callable[[], keras.Model]):
        super().__init__(settings)
        self._build = build

    def look(self, source: Splits) -> None:
        """Labels are numbered already."""

    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        return self._build()


def confusion_matrix(session: Session, classes: int) -> np.ndarray:
    """Validation samples of all ranks, by their label (row) and the largest logit (column), each counted once."""
    source, strategy, task = session.source.validation, session.strategy, session.task

    @tf.function(input_signature=[specs_of(task.fields, source.fields)])
    def predict(example):
        inputs, _ = task.select(as_seen(example, source.fields))
        return tf.argmax(strategy.learner.flat.outputs(*strategy.result, strategy.result_counters, inputs), axis=-1)

    share, batch = plan_evaluation(source.count, session.comm.world), session.settings.batch_size
    counts = np.zeros((classes, classes), np.int64)
    for first in range(0, len(share), batch):
        example = source.read(share[first : first + batch], task.fields)
        np.add.at(counts, (example[LABELS], predict(example).numpy()), 1)
    return session.comm.sum(counts.ravel()).numpy().reshape(counts.shape)
