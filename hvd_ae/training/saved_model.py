"""The last check of a run: what was reported at its end is what the saved model gives, loaded with plain Keras."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.errors import OutOfSync
from hvd_ae.models.raw_units import trained_outputs_and_raw
from hvd_ae.runtime.log import log
from hvd_ae.tasks.losses import is_any_present
from hvd_ae.tasks.measures import Measure
from hvd_ae.tasks.task import Task, given_to_saved, inputs_and_targets, main, normalization_of, restored
from hvd_ae.training.evaluation import Evaluator

if TYPE_CHECKING:
    from hvd_ae.training.session import Session

_BATCHES = 2
# Of the error's root. Kernels that add in another order differ by some 1e-6 of the numbers they add.
_RELATIVE = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 3e-2}


def check_saved_model(session: "Session", path: Path) -> None:
    """Evaluate the first validation samples by the file `path` and by what each rank reported with (every rank calls it).

    A model that draws random numbers in inference too gives no number twice and is not checked; nor is one whose classes
    cannot be loaded from the file alone, of which the root says so.

    Raises:
        OutOfSync: on every rank, naming the first rank whose loss or metric is not that of the file, beyond rounding.
    """
    comm, settings, task = session.comm, session.settings, session.task
    source, names = session.source.validation, _comparable(task)
    indices = np.arange(min(source.count, _BATCHES * settings.batch_size))
    figures = Evaluator(session.strategy, source, task, comm, settings.batch_size, draws=False).of_samples(indices)
    of_ranks = comm.all_gather(np.array([figures[name] for name in names])).numpy().reshape(comm.world.size, -1)
    of_file = _evaluated_by_file(session, path, indices) if comm.world.is_root else np.zeros(3 + len(names))
    comparable, *sizes_and_saved = comm.broadcast(of_file).numpy().tolist()
    if not comparable:
        return
    (trained_size, raw_size), saved = sizes_and_saved[:2], sizes_and_saved[2:]
    relative = _RELATIVE[settings.precision]
    for rank, reported in enumerate(of_ranks if session.strategy.replicated_state() else of_ranks[:1]):
        for name, theirs, ours in zip(names, reported, saved, strict=True):
            if not _same(theirs, ours, relative, trained_size if name == "val_loss" else raw_size):
                raise OutOfSync(
                    f"{path} gives {name}={ours:.6g} on the first {len(indices)} validation samples, but rank {rank} of "
                    f"{len(of_ranks)} reported with a model that gives {theirs:.6g}: do not use this model; look for state "
                    "that one of its layers keeps elsewhere than in Keras variables")


def _comparable(task: Task) -> list[str]:
    """What is a mean over samples of what a saved model gives."""
    means = [name for name, metric in task.metrics.items() if not isinstance(metric, Measure)]
    return ["val_loss"] * task.judges_output + means


def _same(reported: float, saved: float, relative: float, size: float) -> bool:
    """Whether two means of squares, or of the like, of numbers of this size are the same but for rounding."""
    if not (np.isfinite(reported) and np.isfinite(saved)):
        return np.isfinite(reported) == np.isfinite(saved)
    first, second = np.sqrt(np.abs([reported, saved]))
    return abs(first - second) <= relative * second + relative / 10 * size


def _evaluated_by_file(session: "Session", path: Path, indices: np.ndarray) -> np.ndarray:
    """Whether the file can be checked, the sizes of its outputs as they were trained and raw, and each mean."""
    task, batch_size, names = session.task, session.settings.batch_size, _comparable(session.task)
    fields = session.source.validation.fields
    output = normalization_of(task.output_field, fields)
    squares, sums, count = np.zeros(2), np.zeros(len(names)), 0.0
    nothing = np.zeros(3 + len(names))
    if session.learner.flat.draws_in_inference(_select(session, indices[:1])[0]):
        return nothing
    session.learner.flat.release()  # loading takes memory: the file, and the variables of another model
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        log.warning(f"{path} is not checked: plain Keras cannot load it ({str(error).strip().splitlines()[0]})")
        return nothing
    both = None if output is None else trained_outputs_and_raw(model)
    for first in range(0, len(indices), batch_size):
        piece = indices[first : first + batch_size]
        samples, targets = _read(session, piece), main(_select(session, piece)[1])
        trained, raw = (model(samples, training=False),) * 2 if both is None else both(samples, training=False)
        counted = float(tf.reduce_sum(is_any_present(targets)))
        penalty = sum(float(tf.reduce_sum(tf.cast(loss, tf.float32))) for loss in (both or model).losses)
        squares += [np.mean(np.square(np.asarray(each, np.float64))) * len(piece) for each in (trained, raw)]
        for position, name in enumerate(names):
            of_each = (task.loss(targets, trained) if name == "val_loss"
                       else task.metrics[name](restored(targets, output), raw))
            sums[position] += np.sum(of_each, dtype=np.float64) + penalty * counted * (name == "val_loss")
        count += counted
    return np.array([1.0, *np.sqrt(squares / len(indices)), *(sums / count if count else sums * math.nan)])


def _select(session: "Session", indices: np.ndarray):
    """Inputs and targets of these validation samples, with fields as the model sees them."""
    example = session.raw_source.validation.read(indices, session.task.fields)
    return inputs_and_targets(session.task, {name: tf.convert_to_tensor(values) for name, values in example.items()},
                              session.source.validation.fields)


def _read(session: "Session", indices: np.ndarray):
    """What the saved model is given of these samples."""
    source = session.raw_source.validation
    return given_to_saved(session.task, source.read(indices, session.task.fields), source.fields)
