"""`hvd-ae encode`: the codes of any data."""

from hvd_ae.commands.outputs import refuse_writing_over_input, shape_as_text, write_outputs
from hvd_ae.data.source import SAMPLES
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.functions import codes
from hvd_ae.runs.opened import allowed_in, beside_of, condition_of, open_run, samples_for
from hvd_ae.settings.commands import EncodeSettings


def encode(settings: EncodeSettings) -> None:
    """Write the codes of every sample, in the data's order, as float32 (every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run, it has no encoder, the data do not fit it, or `output` is a file
            of either.
        NotWritten: on every rank, when there is no room; a later start goes on.
    """
    of_run, encoder, comm = open_run(settings.run, "encoder", side_by_side=True)
    refuse_writing_over_input(settings.output, settings.data, settings.run, of_run, comm)
    source = samples_for(encoder, settings.data, of_run, comm, settings.columns, beside_of(settings))
    condition = condition_of(encoder, of_run)
    fields = [SAMPLES] if condition is None else [SAMPLES, condition]
    blocks = Blocks(codes(encoder, source.fields, condition), source, fields, comm, {SAMPLES: allowed_in(of_run)},
                    settings.batch_size)
    about = {"data": settings.data, "condition": settings.condition}
    write_outputs(blocks, "codes", settings.output, settings.run, about, comm)
    if comm.world.is_root:
        print(f"{source.count:,} codes of {shape_as_text(blocks.shapes['codes'])} are in {settings.output}", flush=True)
