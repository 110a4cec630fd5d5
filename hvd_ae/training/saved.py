"""The last check of a run: what was reported at its end is what the saved model gives, loaded with plain Keras."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hvd_ae.errors import OutOfSync
from hvd_ae.models.losses import LOSSES
from hvd_ae.training.evaluation import Evaluator
from hvd_ae.training.session import Session

_BATCHES = 2
# Of the error's root. Kernels that add in another order differ by some 1e-6 of the numbers they add.
_RELATIVE = {"float32": 1e-3, "bfloat16": 3e-2}


def prove_saved(session: Session, path: Path) -> None:
    """Judge the first validation samples by the file `path` and by what each rank reported with (every rank calls it).

    A model that draws random numbers in inference too gives no number twice and is not judged; nor is one whose classes
    cannot be loaded from the file alone, of which the root says so.

    Raises:
        OutOfStep: on every rank, naming the first rank whose loss or error is not that of the file, beyond rounding.
    """
    comm, settings, task = session.comm, session.settings, session.task
    samples = session.source.validation
    rows = np.arange(min(samples.count, _BATCHES * settings.batch_size))
    evaluator = Evaluator(session.strategy, samples, task.measures, comm, settings.batch_size)
    mine = evaluator.sums(rows) / len(rows)
    of_ranks = comm.all_gather(mine).numpy().reshape(comm.world.size, -1)
    saved = _judged_by_file(session, path, rows) if comm.world.is_root else np.zeros(4)
    comparable, size, *saved = comm.broadcast(saved).numpy().tolist()
    if not comparable:
        return
    relative = _RELATIVE[settings.precision]
    for rank, found in enumerate(of_ranks[:1] if not session.strategy.replicated_state() else of_ranks):
        for name, theirs, ours in zip(("val_loss", "val_mse"), found, saved, strict=True):
            if not _same(theirs, ours, relative, size):
                raise OutOfSync(
                    f"{path} gives {name}={ours:.6g} on the first {len(rows)} validation samples, but rank {rank} of "
                    f"{len(of_ranks)} reported with a model that gives {theirs:.6g}: do not use this model; look for state "
                    "that one of its layers keeps elsewhere than in Keras variables")


def _same(reported: float, saved: float, relative: float, size: float) -> bool:
    """Whether two means of squares, or of the like, of numbers of this size are the same but for rounding."""
    if not (np.isfinite(reported) and np.isfinite(saved)):
        return np.isfinite(reported) == np.isfinite(saved)
    first, second = np.sqrt(np.abs([reported, saved]))
    return abs(first - second) <= relative * second + relative / 10 * size


def _judged_by_file(session: Session, path: Path, rows: np.ndarray) -> np.ndarray:
    """Whether the file can be judged, its outputs' size, and its mean loss and squared error over these rows."""
    samples, batch_size, sums = session.source.validation, session.settings.batch_size, np.zeros(3)
    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        print(f"{path} is not checked: plain Keras cannot load it ({str(error).strip().splitlines()[0]})", flush=True)
        return np.zeros(4)
    for first in range(0, len(rows), batch_size):
        part = rows[first : first + batch_size]
        inputs = tf.cast(samples.rows(part), tf.float32) * samples.scale
        if not first and session.replica.flat.draws_when_judged(inputs[:1]):
            return np.zeros(4)
        outputs = model(inputs, training=False)
        penalty = sum(float(tf.reduce_sum(tf.cast(loss, tf.float32))) for loss in model.losses)
        loss = np.sum(session.task.loss(inputs, outputs), dtype=np.float64) + penalty * len(part)
        sums += [np.mean(np.square(np.asarray(outputs, np.float64))) * len(part), loss,
                 np.sum(LOSSES["mse"](inputs, outputs), dtype=np.float64)]
    squares, loss, mse = sums / len(rows)
    return np.array([1.0, np.sqrt(squares), loss, mse])
