"""Using a finished run's model on ranks: its losses on any data, and its reconstructions."""

import dataclasses
import json
import tomllib

import keras
import numpy as np

from hvd_ae.collectives.agree import together
from hvd_ae.collectives.engine import Engine
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.samples import Samples, check_rows
from hvd_ae.errors import Refused
from hvd_ae.models.build import find_function
from hvd_ae.models.losses import LOSSES
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.outcome import scaled
from hvd_ae.training.prepare import load_on_all


def evaluate_run(run: str, data: str | None, batch_size: int) -> dict[str, float]:
    """Mean losses of a run's model over all samples, printed by the root as JSON (every rank calls it).

    Args:
        run: the run folder.
        data: a name or path; None takes the run's own validation samples.

    Raises:
        Refused: on every rank, when there is no such run, or the data do not fit its model.
    """
    settings, model, collectives = _open(run)
    sums, count = np.zeros(2), 0
    for chosen, samples in _sample_sets(settings, data, model, collectives):
        for first in range(0, len(chosen), batch_size):
            inputs = scaled(samples, chosen[first : first + batch_size])
            outputs = model(inputs, training=False)
            sums += [float(np.sum(LOSSES[name](inputs, outputs))) for name in (settings.loss, "mse")]
            count += len(inputs)
    totals = collectives.sum(np.append(sums, count)).numpy()
    losses = {"loss": totals[0] / totals[2], "mse": totals[1] / totals[2], "samples": int(totals[2])}
    if collectives.world.is_root:
        print(json.dumps(losses))
    return losses


def reconstruct_run(run: str, data: str, output: str, batch_size: int) -> None:
    """Write the model's outputs for every sample, in the data's order, as float32 .npy (every rank calls it).

    The ranks work on one stretch of `batch_size` rows each at a time, so no rank ever holds all the outputs.
    """
    settings, model, collectives = _open(run)
    world, file = collectives.world, None
