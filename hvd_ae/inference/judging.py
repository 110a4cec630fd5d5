"""A run's saved models, judged by all that its task reports: the same figures as at the end of its training.

Means are of sums in float64, a block's first, and then over the blocks in their order: the same bits on any number of ranks.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.checks import Range
from hvd_ae.data.normalized import Normalized
from hvd_ae.data.source import EPOCH, NUMBER, Field, Source, WithField
from hvd_ae.data.statistics import Statistics
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks, Unit
from hvd_ae.models.autoencoders import CODE, CONDITION, LOG_VARIANCE, MEAN, NOISE, OUTPUT, SAMPLE, code_of, output_of
from hvd_ae.models.raw_units import trained_outputs_and_raw
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.losses import is_any_present
from hvd_ae.tasks.measures import Measure
from hvd_ae.tasks.task import (
    VALIDATION,
    Task,
    inputs_and_targets,
    main,
    normalization_of,
    restored,
    without_draws,
)
from hvd_ae.training.normalizing import rule_of

_COUNTED = "counted"


def normalized_as(settings: TrainSettings, source: Source, task: Task, statistics: Statistics | None, run: str) -> Source:
    """The source with its fields normalized as they were in the run's training.

    Raises:
        Refused: the run's statistics are not there, or of other fields.
    """
    rule, tables = rule_of(settings), {} if statistics is None else statistics.tables
    chosen = task.fields if task.normalized is None else task.normalized
    declared = {name: source.fields[name] for name in chosen if source.fields[name].dtype.kind != "i"}
    if rule.is_none:
        return source
    if rule.needs_statistics and not declared.keys() <= tables.keys():
        raise Refused(f"{run} holds no statistics.npz of {' and '.join(declared)}, by which normalize={settings.normalize!r} "
                      "goes: put it back, or train again")
    return Normalized(source, {name: rule.normalization(field, tables.get(name)) for name, field in declared.items()})


@dataclasses.dataclass(frozen=True)
class Judged:
    """The task of a run, and what was saved of it.

    parts: "model", and "encoder" and "decoder" where there are such; they take and give raw units.
    spec: the fields, as they were normalized.
    """

    task: Task
    parts: Mapping[str, keras.Model]
    spec: Mapping[str, Field]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all measures."""
        return ("val_loss", *self.task.parts, *self.task.metrics)

    def columns(self, example: Mapping[str, tf.Tensor], wanted: Sequence[str]) -> dict[str, tf.Tensor]:
        """Of each measure its numbers a sample, float64 (samples, numbers), and how many samples count (`_COUNTED`)."""
        task, raw = self.task, normalization_of(self.task.output_field, self.spec)
        inputs, targets = inputs_and_targets(task, example, self.spec)
        outputs, in_raw_units = self._outputs(inputs)
        if task.draws and not task.metrics_draw:
            in_raw_units = self.parts["model"](self._as_given(inputs_and_targets(task, without_draws(example), self.spec)[0]),
                                               training=False)
        counted = tf.cast(is_any_present(main(targets)), tf.float64)
        found = {_COUNTED: counted}
        if "val_loss" in wanted:
            found["val_loss"] = tf.cast(task.loss(targets, outputs), tf.float64) + self._penalty() * counted
        of_parts = {name: (each, targets, outputs) for name, each in task.parts.items()}
        of_metrics = {name: (each, restored(main(targets), raw), in_raw_units) for name, each in task.metrics.items()}
        for name, (each, *compared) in {**of_parts, **of_metrics}.items():
            if name in wanted:
                function = each.of_samples if isinstance(each, Measure) else each
                found[name] = tf.cast(function(*compared), tf.float64)
        return {name: tf.reshape(values, [tf.shape(counted)[0], -1]) for name, values in found.items()}

    def not_saved(self, example: Mapping[str, tf.Tensor]) -> tuple[str, ...]:
        """The measures that need outputs which no saved model gives, by trying them on a few samples."""
        missing = []
        for name in self.names:
            try:
                self.columns(example, (name,))
            except KeyError:  # an output, by its name
                missing.append(name)
        return tuple(missing)

    def _as_given(self, inputs) -> tf.Tensor | dict[str, tf.Tensor]:
        """What saved models take of what a model in training is given."""
        if not isinstance(inputs, dict):
            return restored(inputs, normalization_of(self.task.input_field, self.spec))
        fields = {SAMPLE: self.task.input_field, CONDITION: self.task.condition_field}
        given = {name: restored(values, normalization_of(fields.get(name), self.spec)) for name, values in inputs.items()
                 if name != NOISE}
        return given if len(given) > 1 else given[SAMPLE]

    def _outputs(self, inputs) -> tuple:
        """What a model in training gives, as far as what is saved does, in its units; and the main output in raw ones."""
        given, noise = self._as_given(inputs), inputs.get(NOISE) if isinstance(inputs, dict) else None
        if noise is None:
            trained, raw = self._both("model", given)
            if self.task.judges_output:
                return trained, raw
            codes = {CODE: self.parts["encoder"](given, training=False)} if "encoder" in self.parts else {}
            return {OUTPUT: trained, **codes}, raw
        encoded = self.parts["encoder"](given, training=False)
        code = encoded[MEAN] + tf.exp(0.5 * encoded[LOG_VARIANCE]) * noise
        condition = {CONDITION: given[CONDITION]} if isinstance(given, dict) else {}
        trained, raw = self._both("decoder", {CODE: code, **condition} if condition else code)
        return {OUTPUT: trained, **encoded}, raw

    def _both(self, part: str, given) -> tuple[tf.Tensor, tf.Tensor]:
        model = self.parts[part]
        if normalization_of(self.task.output_field, self.spec) is None:
            return (model(given, training=False),) * 2
        return tuple(trained_outputs_and_raw(model)(given, training=False))

    def _penalty(self) -> tf.Tensor:
        """Of the model's layers, in the call before."""
        return tf.add_n([tf.zeros([], tf.float64), *(tf.cast(loss, tf.float64) for loss in self.parts["model"].losses)])


def judged_of(run: str, settings: TrainSettings, task: Task, parts: Mapping[str, keras.Model], source: Source,
              comm: Communicator) -> Judged:
    """Ready to judge samples of a source by what the run folder holds (every rank calls it).

    Raises:
        Refused: on every rank, where statistics are missing.
    """
    statistics = Statistics.load(Path(run) / "statistics.npz")
    seen = run_on_all(comm, lambda: normalized_as(settings, source, task, statistics, run))
    encoder = parts.get("encoder")
    task.for_saved(seen.fields, () if encoder is None else tuple(code_of(output_of(encoder)).shape[1:]))
    return Judged(task, parts, seen.fields)


def figures(judged: Judged, source: Source, comm: Communicator, allowed: Mapping[str, Range], batch_size: int | None
            ) -> dict[str, float | None]:
    """Each measure over all samples; None where nothing that is saved gives it (every rank calls it).

    Raises:
        Refused: on every rank, where samples cannot be read.
    """
    task = judged.task
    numbered = with_numbers(source)

    def with_epoch(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        example = {name: tf.convert_to_tensor(values) for name, values in example.items()}
        if not task.draws:
            return {name: values for name, values in example.items() if name != NUMBER}
        return {**example, EPOCH: tf.fill(tf.shape(example[NUMBER]), tf.constant(VALIDATION, tf.int64))}

    fields = [*task.fields, NUMBER]
    left_out = judged.not_saved(with_epoch(numbered.read(np.zeros(1, np.int64), fields)))
    wanted = [name for name in judged.names if name not in left_out]
    blocks = Blocks(lambda example: judged.columns(with_epoch(example), wanted), numbered, fields, comm, allowed, batch_size)
    sums = sums_over(blocks, comm)
    count = float(sums.pop(_COUNTED)[0])
    found: dict[str, float | None] = dict.fromkeys(left_out)
    for name, each in {"val_loss": None, **task.parts, **task.metrics}.items():
        if name in sums:
            means = sums[name] / count if count else np.full_like(sums[name], math.nan)
            found[name] = each.result(means) if isinstance(each, Measure) and count else float(np.mean(means))
    return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}


def with_numbers(source: Source) -> Source:
    """The source with the number of each sample, which draws are a function of."""
    return WithField(source, NUMBER, _Itself(), Field((), np.dtype(np.int64), 1.0, 0))


class _Itself:
    """The number of each sample, as the values of a field."""

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return indices


def sums_over(blocks: Blocks, comm: Communicator) -> dict[str, np.ndarray]:
    """Of each result of all samples, float64 (numbers,); a unit's on its rank, and then over the units in their order."""
    numbers, own = [np.zeros(0, np.int64)], [np.zeros(0)]

    def add(unit: Unit) -> None:
        numbers.append(np.array([unit.number]))
        own.append(np.concatenate([unit.outputs[name].sum(axis=0) for name in sorted(blocks.shapes)]))

    blocks.each(add)
    order = np.argsort(comm.all_gather(np.concatenate(numbers)).numpy())
    sums = comm.all_gather(np.concatenate(own)).numpy().reshape(len(order), -1)[order]
    names = sorted(blocks.shapes)
    ends = np.cumsum([blocks.shapes[name][0] for name in names])
    return dict(zip(names, np.split(sums.sum(axis=0), ends[:-1])))
