"""`hvd-ae evaluate`: the losses of a run's model on any data."""

import json

import numpy as np

from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.runs.opened import open_run, outputs_of, samples_for
from hvd_ae.settings.commands import EvaluateSettings
from hvd_ae.tasks.losses import LOSSES


def evaluate(settings: EvaluateSettings) -> None:
    """Mean losses of a run's model over all samples, printed by the root as JSON (every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run, or the data do not fit its model.
    """
    of_run, model, comm = open_run(settings.run)
    source = samples_for(model, settings.data, of_run, comm)
    share = plan_evaluation(source.count, comm.world)
    sums = np.zeros(2)
    for inputs, outputs in outputs_of(model, source, share, settings.batch_size):
        loss, mse = (float(np.sum(LOSSES[name](inputs, outputs))) for name in (of_run.loss, "mse"))
        penalty = sum(float(each) for each in model.losses)  # of its layers, in the call before
        sums += [loss + penalty * len(inputs), mse]
    loss, mse = (comm.sum(sums).numpy() / source.count).tolist()
    if comm.world.is_root:
        print(json.dumps({"val_loss": loss, "val_mse": mse, "samples": source.count, "ranks": comm.world.size}), flush=True)
