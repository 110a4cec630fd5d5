"""`hvd-ae encode`: the codes of any data."""

from hvd_ae.commands.outputs import shape_as_text, write_of_samples
from hvd_ae.inference.functions import codes
from hvd_ae.runs.opened import open_run
from hvd_ae.settings.commands import EncodeSettings


def encode(settings: EncodeSettings) -> None:
    """Write the codes of every sample, in the data's order, as float32 (every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run, it has no encoder, the data do not fit it, or `output` is a file
            of either.
        NotWritten: on every rank, when there is no room; a later start goes on.
    """
    of_run, encoder, comm = open_run(settings.run, "encoder", side_by_side=True)
    blocks = write_of_samples(settings, of_run, encoder, codes, "codes", comm)
    if comm.world.is_root:
        said = shape_as_text(blocks.shapes["codes"])
        print(f"{blocks.source.count:,} codes of {said} are in {settings.output}", flush=True)
