"""`hvd-ae sample`: new samples, which a variational run's decoder makes of codes that are drawn."""

from collections.abc import Sequence

import numpy as np

from hvd_ae.commands.outputs import refuse_writing_over_input, write_outputs
from hvd_ae.data.source import NUMBER, Field, Source
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.functions import drawn
from hvd_ae.models.autoencoders import input_of
from hvd_ae.runs.opened import open_run
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.commands import SampleSettings
from hvd_ae.settings.train import TrainSettings


def sample(settings: SampleSettings) -> None:
    """Write so many samples, float32 in raw units (every rank calls it).

    Sample i is a function of the seed and i: the same on any number of ranks, and whatever the count.

    Raises:
        Refused: on every rank, when there is no such run, or it is not a variational one without a condition.
        NotWritten: on every rank, when there is no room; a later start goes on.
    """
    of_run, decoder, comm = open_run(settings.run, "decoder", side_by_side=True)
    run_on_all(comm, lambda: _check(of_run, settings))
    refuse_writing_over_input(settings.output, None, settings.run, of_run, comm)
    seed = of_run.seed if settings.seed is None else settings.seed
    function = drawn(decoder, tuple(input_of(decoder).shape)[1:], seed)
    blocks = Blocks(function, _Numbers(settings.count), [NUMBER], comm, batch_size=settings.batch_size)
    write_outputs(blocks, "samples", settings.output, settings.run, {"seed": seed}, comm)
    if comm.world.is_root:
        print(f"{settings.count:,} samples of shape {blocks.shapes['samples']} are in {settings.output}", flush=True)


def _check(of_run: TrainSettings, settings: SampleSettings) -> None:
    if of_run.task != "variational":
        raise Refused(f"task={of_run.task!r} has codes of a distribution that nobody knows, so that none can be drawn: sample "
                      "from a run of --task variational")
    if of_run.condition is not None:
        raise Refused(f"condition={of_run.condition!r} is given to this run's decoder beside codes: draw standard normal "
                      f"codes, and give both to `hvd-ae decode {settings.run}`")


class _Numbers(Source):
    """Numbers of samples that are not there yet."""

    reads_single_samples, in_memory = True, True

    def __init__(self, count: int):
        self.name, self.count = "drawn codes", count
        self.fields = {NUMBER: Field((), np.dtype(np.int64), 1.0, 8)}

    @property
    def block_starts(self) -> np.ndarray:
        return np.zeros(1, np.int64)

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return {NUMBER: np.asarray(indices, np.int64)}
