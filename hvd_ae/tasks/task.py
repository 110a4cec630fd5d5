"""What every objective says: what a model is given, what its outputs are compared with, and what is reported."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.data.checks import Range
from hvd_ae.data.normalization import Normalization
from hvd_ae.data.source import EPOCH, NUMBER, SAMPLES, Field, Source, Splits
from hvd_ae.models.autoencoders import NOISE, OUTPUT, SAMPLE, find_decoder, find_encoder, main_output
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Learner
from hvd_ae.tasks.measures import Measure

Example = Mapping[str, tf.Tensor]  # by field, (samples, *shape)
VALIDATION = -1  # the epoch of draws of validation samples
Part = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Task(ABC):
    """An objective. A new one is a subclass in a file of its own; `hvd_ae.train` and `Session` take it as `task`.

    What a model is given, gives and is compared with is a tensor, or, of several, a dict of tensors; its main entry is then
    called "output", and a model's inputs "sample", "condition" and "noise" (`models/autoencoders.py`).

    fields: the fields that are read of each sample.
    loss: from (targets, outputs) to one number a sample, float32 (samples,); trained on, and reported as `val_loss`.
    parts: what else is reported of validation samples after each epoch, by name: functions of the same kind, or `Measure`s.
    metrics: the same, but given the main targets and outputs alone, and these in raw units.
    reconstructs: whether outputs are the samples again, so that a picture can show both beside each other.
    target_field: where they are, the field that they are compared with.
    judges_output: whether `loss` needs no other outputs than the main one, so that the saved model's can be judged by it.
    draws: whether `select` draws random numbers. An example then has the number of each sample, and the epoch, which are what
        draws are a function of; in validation the epoch is -1, so that all epochs are judged by the same draws. Where an
        example has neither, nothing is to be drawn: what a saved model would be given is asked for.
    metrics_draw: whether metrics are of what was drawn, too: where samples come with noise, but not where codes do.
    normalized: the fields that are normalized as the settings say; None for all that hold numbers.
    compares_raw: whether targets are selected from fields as they were before they are normalized: counts, for instance.
    input_field: the field that the model is given as it is, so that a saved model can take it raw; None where there is none.
    condition_field: that of a second input.
    output_field: the field of whose kind outputs are, so that a saved model can give them raw; None where they are raw, or
        of no field's kind.
    """

    parts: Mapping[str, Part | Measure] = {}
    reconstructs = False
    target_field = SAMPLES
    judges_output = True
    draws = False
    metrics_draw = False
    normalized: tuple[str, ...] | None = None
    compares_raw = False
    input_field: str | None = SAMPLES
    condition_field: str | None = None
    output_field: str | None = None
    fields: tuple[str, ...]
    loss: Part
    metrics: Mapping[str, Part | Measure]

    def look(self, source: Splits) -> None:
        """A chance to look at the samples before anything is built, on every rank alike; does not communicate.

        Raises:
            Refused: this cannot be learnt of them.
        """

    @abstractmethod
    def build_model(self, spec: Mapping[str, Field]) -> keras.Model:
        """The model for samples of these fields; called once on every rank, whose first parameters the root's replace.

        The model belongs to the training from then on: its variables are empty until the end.

        Raises:
            Refused: the data do not fit, or there is no such model.
        """

    def for_saved(self, spec: Mapping[str, Field], code: tuple[int, ...]) -> None:
        """In place of `build_model`, where a saved model is judged: what `select` has to know of one.

        Args:
            spec: the fields, as they were normalized.
            code: the shape of a sample's code; () where there is none.
        """

    def build_learner(self, spec: Mapping[str, Field], optimizer: keras.optimizers.Optimizer, rank: int,
                      part_of: Callable[[int], tuple[int, int] | None], kind: type[Learner] = Learner) -> Learner:
        """What computes gradients and takes steps.

        Args:
            part_of: from a number of parameters to (first, count) of those that this rank's optimizer updates; None for all.
            kind: a training step of one's own is a subclass of `Learner`.
        """
        flat = FlatModel(self.build_model(spec), self.loss)
        return kind(flat, optimizer, rank, part_of(flat.layout.size))

    @abstractmethod
    def select(self, example: Example):
        """The model's inputs, and what its outputs are compared with, from fields as the model sees them; in the graph."""

    def allowed(self) -> Mapping[str, Range]:
        """By field, the values that can be trained on, where not all finite ones can."""
        return {}

    def shown(self, model: keras.Model, source: Source, indices: np.ndarray) -> dict[str, np.ndarray]:
        """What a picture shows of samples, by label, all of the samples' shape and in raw units; where `reconstructs`.

        Args:
            model: what is saved as such.
            source: samples as the user gave them.
        """
        given = given_to_saved(self, source.read(indices, self.fields), source.fields)
        return {"original": source.seen(indices), "reconstructed": model(given, training=False)}

    def finished(self, model: keras.Model) -> dict[str, keras.Model]:
        """Of the trained model what is saved, by name: "model", and "encoder" and "decoder" where there are such.

        All draw nothing. The model takes what `input_field` and `condition_field` say, and gives the main output.
        """
        model = main_output(model)
        parts = {"model": model, "encoder": find_encoder(model), "decoder": find_decoder(model)}
        return {name: part for name, part in parts.items() if part is not None}


def main(values: tf.Tensor | Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The main one of targets or outputs."""
    return values[OUTPUT] if isinstance(values, Mapping) else values


def as_seen(example: Example, spec: Mapping[str, Field], fill: bool = True, normalize: bool = True) -> dict[str, tf.Tensor]:
    """Fields as the model sees them: float32, scaled and normalized, but for whole numbers that name something.

    Args:
        fill: whether something is put in the place of what is missing, which stays NaN otherwise.
        normalize: False leaves them in raw units, what is missing being NaN.
    """
    return {name: tf.convert_to_tensor(value) if name not in spec or spec[name].dtype.kind == "i"
            else _as_seen(value, spec[name], fill, normalize) for name, value in example.items()}


def _as_seen(value: tf.Tensor, field: Field, fill: bool, normalize: bool) -> tf.Tensor:
    value, by = tf.cast(value, tf.float32) * tf.constant(field.scale, tf.float32), field.normalization
    if by is None or not normalize:
        return value
    value = ((tf.math.log1p(value) if by.logarithm else value) - by.shift) * by.factor
    return tf.where(tf.math.is_nan(value), by.fill, value) if fill and by.fill is not None else value


def restored(values: tf.Tensor, by: Normalization | None) -> tf.Tensor:
    """Normalized values in raw units, float32."""
    if by is None:
        return values
    values = tf.cast(values, tf.float32) * by.scale + by.shift
    return tf.math.expm1(values) if by.logarithm else values


def inputs_and_targets(task: Task, example: Example, spec: Mapping[str, Field]):
    """What the model is given of fields as they are read, and what its outputs are compared with: NaN where it is missing."""
    inputs, targets = task.select(as_seen(example, spec))
    if task.compares_raw or may_be_missing(task, spec):
        _, targets = task.select(as_seen(example, spec, fill=False, normalize=not task.compares_raw))
    return inputs, targets


def given_to_saved(task: Task, example: Mapping[str, np.ndarray], spec: Mapping[str, Field]):
    """What a saved model takes of fields as they are read: a tensor in raw units, or a dict, "sample" and "condition".

    Args:
        spec: of the source as the user gave it, without normalizations.
    """
    given = {name: tf.convert_to_tensor(values) for name, values in example.items()}
    inputs, _ = task.select(as_seen(given, spec, fill=False, normalize=False))
    if not isinstance(inputs, dict):
        return inputs
    inputs = {name: values for name, values in inputs.items() if name != NOISE}
    return inputs if len(inputs) > 1 else inputs[SAMPLE]


def without_draws(example: Example) -> dict[str, tf.Tensor]:
    """The example without what draws are a function of."""
    return {name: value for name, value in example.items() if name not in (NUMBER, EPOCH)}


def may_be_missing(task: Task, spec: Mapping[str, Field]) -> bool:
    """Whether values may be missing in any of the fields of a task."""
    return any(by is not None and by.fill is not None for by in (spec[name].normalization for name in task.fields))


def normalization_of(field: str | None, spec: Mapping[str, Field]) -> Normalization | None:
    """That of a task's `input_field` or `output_field`."""
    return None if field is None or field not in spec else spec[field].normalization


def specs_of(fields: tuple[str, ...], spec: Mapping[str, Field]) -> dict[str, tf.TensorSpec]:
    """What a graph is given: these fields of any number of samples, as they are read."""
    return {name: tf.TensorSpec([None, *spec[name].shape], spec[name].dtype) for name in fields}


def specs_for(task: Task, spec: Mapping[str, Field], draws: bool = True) -> dict[str, tf.TensorSpec]:
    """What a task's graph is given: its fields, and what draws are a function of.

    Args:
        draws: False where nothing is to be drawn.
    """
    counters = (NUMBER, EPOCH) if task.draws and draws else ()
    return specs_of(task.fields, spec) | dict.fromkeys(counters, tf.TensorSpec([None], tf.int64))


def with_counters(task: Task, example: Mapping[str, np.ndarray], numbers: np.ndarray, epoch: int) -> dict[str, np.ndarray]:
    """The example with what draws are a function of, where the task draws.

    Args:
        numbers: of the samples, int64.
        epoch: completed ones; `VALIDATION` for validation samples.
    """
    if not task.draws:
        return dict(example)
    return {**example, NUMBER: np.asarray(numbers, np.int64), EPOCH: np.full(len(numbers), epoch, np.int64)}
