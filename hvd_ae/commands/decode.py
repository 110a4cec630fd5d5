"""`hvd-ae decode`: what a run's decoder makes of codes."""

import math

import keras

from hvd_ae.commands.outputs import refuse_writing_over_input, write_outputs
from hvd_ae.data.load import load_all
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, Source
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.functions import decoded
from hvd_ae.models.autoencoders import CODE, input_of
from hvd_ae.runs.opened import open_run
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import DecodeSettings
from hvd_ae.settings.train import TrainSettings


def decode(settings: DecodeSettings) -> None:
    """Write what the decoder gives for every code, in their order, float32 in raw units (every rank calls it).

    Raises:
        Refused: on every rank, when there is no such run, it has no decoder, the codes do not fit it, or `output` is a file
            of either.
        NotWritten: on every rank, when there is no room; a later start goes on.
    """
    of_run, decoder, comm = open_run(settings.run, "decoder", side_by_side=True)
    refuse_writing_over_input(settings.output, settings.data, settings.run, of_run, comm)
    source = run_on_all(comm, lambda: _codes(settings, of_run, decoder))
    condition = _condition_of(decoder, of_run)
    fields = [SAMPLES] if condition is None else [SAMPLES, condition]
    blocks = Blocks(decoded(decoder, source.fields, condition), source, fields, comm, batch_size=settings.batch_size)
    about = {"data": settings.data, "condition": settings.condition}
    write_outputs(blocks, "samples", settings.output, settings.run, about, comm)
    if comm.world.is_root:
        print(f"{source.count:,} samples of shape {blocks.shapes['samples']} are in {settings.output}", flush=True)


def _condition_of(decoder: keras.Model, of_run: TrainSettings) -> str | None:
    if not isinstance(input_of(decoder), dict):
        return None
    return LABELS if of_run.condition == LABELS else CONDITION


def _codes(settings: DecodeSettings, of_run: TrainSettings, decoder: keras.Model) -> Source:
    condition, given = _condition_of(decoder, of_run), input_of(decoder)
    if condition is None and settings.condition is not None:
        raise Refused(f"condition={settings.condition!r} has no effect with a run that was trained without one: drop it")
    if condition is not None and settings.condition is None:
        raise Refused("this run's decoder takes a condition beside codes: say by --condition where they are")
    source = load_all(settings.data, beside={} if condition is None else {condition: settings.condition})
    expected = tuple((given if condition is None else given[CODE]).shape)[1:]
    if source.fields[SAMPLES].shape != expected:
        raise Refused(f"data={settings.data!r} has codes of shape {source.fields[SAMPLES].shape}, but the decoder takes "
                      f"{expected}, {math.prod(expected)} numbers each: give codes that `hvd-ae encode` of this run wrote")
    return source
