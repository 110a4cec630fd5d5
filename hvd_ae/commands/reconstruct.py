"""`hvd-ae reconstruct`: what a run's model makes of any data."""

from hvd_ae.commands.outputs import write_of_samples
from hvd_ae.inference.functions import reconstructions
from hvd_ae.runs.opened import open_run, task_that_reconstructs
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
    blocks = write_of_samples(settings, of_run, model, reconstructions, "reconstructions", comm)
    if comm.world.is_root:
        shape = blocks.shapes["reconstructions"]
        print(f"{blocks.source.count:,} reconstructions of shape {shape} are in {settings.output}", flush=True)
