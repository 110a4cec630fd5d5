"""`hvd-ae evaluate`: all that a run's task reports, of its saved model and any data."""

import json

from hvd_ae.errors import Refused
from hvd_ae.inference.judging import figures, judged_of
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.opened import allowed_in, load_part, open_run, samples_for
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import EvaluateSettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.tasks.task import Task


def evaluate(settings: EvaluateSettings) -> None:
    """The loss, its parts and the metrics of a run's task over all samples, printed by the root as JSON (every rank calls it).

    Loss and parts are of what the model was trained to give, metrics of raw units; all have the same bits on any number of
    ranks. What needs outputs that no saved model gives, such as the dispersion of counts, is null.

    Raises:
        Refused: on every rank, when there is no such run, or the data do not fit its model.
    """
    beside = settings.beside
    of_run, model, comm = open_run(settings.run, side_by_side=True)
    task, folder = run_on_all(comm, lambda: task_of(of_run)), RunFolder(settings.run)
    others = [name for name in ("encoder", "decoder") if (folder.path / f"{name}.keras").exists()]
    parts = {"model": model, **{name: load_part(settings.run, name, of_run, comm) for name in others}}
    source = samples_for(model, settings.data, of_run, comm, task=task, beside=beside)
    run_on_all(comm, lambda: _refuse_without(task, source.fields, of_run))
    judged = judged_of(settings.run, of_run, task, parts, source, comm)
    allowed = {name: allowed_in(of_run) for name in task.fields if source.fields[name].dtype.kind != "i"}
    found = figures(judged, source, comm, allowed, settings.batch_size)
    if comm.world.is_root:
        print(json.dumps({**found, "samples": source.count, "ranks": comm.world.size}), flush=True)


def _refuse_without(task: Task, fields, of_run: TrainSettings) -> None:
    for name in task.fields:
        if name not in fields:
            raise Refused(f"task={of_run.task!r} is judged by {name}, which these data do not bring: say by --{name} where "
                          "they are")
