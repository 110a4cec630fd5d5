"""The loss, and other metrics, over the whole validation set: every sample counts once, whichever rank holds it."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import Source
from hvd_ae.models.flat import samples_of
from hvd_ae.tasks.losses import is_any_present
from hvd_ae.tasks.measures import Measure
from hvd_ae.tasks.task import (
    VALIDATION,
    Task,
    inputs_and_targets,
    main,
    may_be_missing,
    normalization_of,
    restored,
    specs_for,
    with_counters,
    without_draws,
)


class Evaluator:
    """The loss (`val_loss`), a task's parts of it and its metrics; each rank takes a contiguous share of the samples.

    The loss and its parts are of what the model sees, metrics are of raw units.

    Args:
        strategy: whose synchronized result is evaluated.
        batch_size: samples in one pass through the model; the last pass may have fewer.
        in_memory: whether this rank's share may stay in memory, so that blocks are decoded in the first evaluation only.
        draws: whether a task that draws does so; the saved model does not.
    """

    def __init__(self, strategy: Strategy, source: Source, task: Task, comm: Communicator, batch_size: int,
                 in_memory: bool = False, draws: bool = True):
        self._source, self._task, self._comm, self._batch_size = source, task, comm, batch_size
        self._in_memory, self._held = in_memory and not source.reads_single_samples, None
        self._share = plan_evaluation(source.count, comm.world)
        self._draws = draws and task.draws

        fields, learner = source.fields, strategy.learner
        is_masked, raw = may_be_missing(task, fields), normalization_of(task.output_field, fields)
        parts, metrics = (list(dict.fromkeys(map(_of_samples, each.values()))) for each in (task.parts, task.metrics))
        self._places = [*parts, *metrics]  # of each function's sums behind that of the loss

        def in_raw_units(metric):
            return lambda targets, outputs: metric(restored(main(targets), raw), restored(main(outputs), raw))

        def measured(example, measures):
            inputs, targets = inputs_and_targets(task, example, fields)
            counted = tf.reduce_sum(is_any_present(main(targets))) if is_masked else samples_of(inputs)
            counted = tf.cast(counted, tf.float64)
            return learner.losses_of(*strategy.result, strategy.result_counters, inputs, targets, measures, counted), counted

        @tf.function(input_signature=[specs_for(task, fields, self._draws)])
        def sums(example):
            of_metrics = [in_raw_units(metric) for metric in metrics]
            if not self._draws or task.metrics_draw:
                losses, counted = measured(example, [*parts, *of_metrics])
                return [*losses, counted]
            (losses, counted), (others, _) = measured(example, parts), measured(without_draws(example), of_metrics)
            return [*losses, *others[1:], counted]

        self._sums = sums

    def means(self) -> dict[str, float]:
        """Each figure of all samples of all ranks (every rank calls it)."""
        sums = self._sums_of(self._share_in_batches())
        totals = self._comm.sum(np.concatenate([np.ravel(own) for own in sums])).numpy()
        pieces = np.split(totals, np.cumsum([np.size(own) for own in sums])[:-1])
        return self._figures([piece.reshape(np.shape(own)) for piece, own in zip(pieces, sums, strict=True)])

    def of_samples(self, indices: np.ndarray) -> dict[str, float]:
        """Each figure of these samples, by this rank alone."""
        return self._figures(self._sums_of(self._read(indices[piece]) for piece in self._batches(len(indices))))

    def _figures(self, sums: list[np.ndarray]) -> dict[str, float]:
        """By name. A sample of which all that is to be given back is missing is none."""
        loss, *others, count = sums
        means = [total / count if count else np.full_like(total, math.nan) for total in (loss, *others)]
        of_function = dict(zip(self._places, means[1:], strict=True))
        figures = {"val_loss": float(means[0])}
        for name, measure in {**self._task.parts, **self._task.metrics}.items():
            mean = of_function[_of_samples(measure)]
            figures[name] = measure.result(mean) if isinstance(measure, Measure) and count else float(np.mean(mean))
        return figures

    def _sums_of(self, examples: Iterable[dict[str, np.ndarray]]) -> list[np.ndarray]:
        sums = None
        for example in examples:
            found = [each.numpy() for each in self._sums(example)]
            sums = found if sums is None else [total + each for total, each in zip(sums, found)]
        if sums is None:  # a rank without samples: only how many sums there are counts
            sums = [np.zeros_like(each) for each in self._sums(self._read(np.zeros(1, np.int64)))]
        return sums

    def _share_in_batches(self) -> Iterator[dict[str, np.ndarray]]:
        if self._in_memory and self._held is None:
            self._held = self._read(self._share)
        for piece in self._batches(len(self._share)):
            yield (self._read(self._share[piece]) if self._held is None
                   else {name: values[piece] for name, values in self._held.items()})

    def _read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        example = self._source.read(indices, self._task.fields)
        return with_counters(self._task, example, indices, VALIDATION) if self._draws else example

    def _batches(self, count: int) -> Iterator[slice]:
        return (slice(first, first + self._batch_size) for first in range(0, count, self._batch_size))


def _of_samples(measure) -> Callable:
    """What is computed of samples; what several measures share is computed once."""
    return measure.of_samples if isinstance(measure, Measure) else measure
