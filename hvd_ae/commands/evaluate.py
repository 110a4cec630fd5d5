"""`hvd-ae evaluate`: the losses of a run's model on any data."""

import json

import numpy as np

from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.models.raw_units import in_both_units
from hvd_ae.runs.opened import open_run, samples_for, task_that_reconstructs
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import EvaluateSettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.losses import is_any_present, losses_for
from hvd_ae.tasks.task import Task
from hvd_ae.training.normalizing import rule_of


def evaluate(settings: EvaluateSettings) -> None:
    """Mean losses of a run's model over all samples, printed by the root as JSON (every rank calls it).

    `val_loss` is of what the model was trained to give, and null where that is more than a saved model gives; `val_mse` is
    of raw units.

    Raises:
        Refused: on every rank, when there is no such run, the data do not fit its model, or outputs are to be compared with
            something else than the samples.
    """
    of_run, model, comm = open_run(settings.run)
    task = run_on_all(comm, lambda: _compared_with_samples(of_run))
    source = samples_for(model, settings.data, of_run, comm)
    share = plan_evaluation(source.count, comm.world)
    squared = losses_for(of_run.missing)["mse"]
    is_wrapped = not rule_of(of_run).is_none and task.output_field == SAMPLES
    judged = in_both_units(model) if is_wrapped else model
    sums = np.zeros(3)
    for first in range(0, len(share), settings.batch_size):
        given = source.seen(share[first : first + settings.batch_size])
        outputs = judged(given, training=False)
        targets, trained, raw = outputs if is_wrapped else (given, outputs, outputs)
        counted = float(np.sum(is_any_present(targets))) if of_run.missing != "refuse" else len(given)
        penalty = sum(float(each) for each in judged.losses)  # of its layers, in the call before
        loss = float(np.sum(task.loss(targets, trained))) if task.judges_output else 0.0
        sums += [loss + penalty * counted, float(np.sum(squared(given, raw))), counted]
    loss, mse, count = comm.sum(sums).numpy().tolist()
    if comm.world.is_root:
        means = {"val_loss": loss / count if count and task.judges_output else None, "val_mse": mse / count if count else None}
        print(json.dumps({**means, "samples": source.count, "ranks": comm.world.size}), flush=True)


def _compared_with_samples(of_run: TrainSettings) -> Task:
    task = task_that_reconstructs(of_run)
    if task.target_field != SAMPLES:
        raise Refused(f"targets={of_run.targets!r} are what this run's outputs are compared with, and evaluate has the "
                      "samples alone: its val_mse is in summary.json, or call its model.keras from Python")
    return task
