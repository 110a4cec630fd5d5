"""`hvd-ae reconstruct`: what a run's model makes of any data."""

from hvd_ae.commands.outputs import refuse_writing_over_input, write_outputs
from hvd_ae.data.source import SAMPLES
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.functions import reconstructions
from hvd_ae.runs.opened import allowed_in, beside_of, condition_of, open_run, samples_for, task_that_reconstructs
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import ReconstructSettings


def reconstruct(settings: ReconstructSettings) -> None:
    """Write the model's outputs for every sample, in the data's order, as float32 (every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run, its model gives no samples back, the data do not fit it, or
            `output` is a file of either.
        NotWritten: on every rank, when there is no room; `output` is as it was, and a later start goes on.
    """
    of_run, model, comm = open_run(settings.run, side_by_side=True)
    run_on_all(comm, lambda: task_that_reconstructs(of_run))
    refuse_writing_over_input(settings.output, settings.data, settings.run, of_run, comm)
    source = samples_for(model, settings.data, of_run, comm, settings.columns, beside_of(settings))
    condition = condition_of(model, of_run)
    fields = [SAMPLES] if condition is None else [SAMPLES, condition]
    blocks = Blocks(reconstructions(model, source.fields, condition), source, fields, comm, {SAMPLES: allowed_in(of_run)},
                    settings.batch_size)
    about = {"data": settings.data, "condition": settings.condition}
    write_outputs(blocks, "reconstructions", settings.output, settings.run, about, comm)
    if comm.world.is_root:
        shape = blocks.shapes["reconstructions"]
        print(f"{source.count:,} reconstructions of shape {shape} are in {settings.output}", flush=True)
