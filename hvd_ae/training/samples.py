"""The samples that settings name, the same on all ranks: those of a training, or all that another command works on."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.load import fingerprint, load, load_samples, named_beside
from hvd_ae.data.source import Part, Source, Splits
from hvd_ae.runtime.consensus import refused_on_all, run_on_all, same_on_all
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings


class NamesFields(Protocol):
    """Settings of a command that name what lies beside the samples, and which of them to take."""

    labels: str | None
    targets: str | None
    condition: str | None
    columns: str | None
    rows: str | None


def samples_on_all(data: str, settings: NamesFields, comm: Communicator, seed: int = 0,
                   look: Callable[[Source], None] = lambda source: None) -> Source:
    """All samples of a path, or the training samples of a name (every rank calls it).

    Args:
        look: called with what was opened before anything is read, to refuse it.

    Raises:
        Refused: on every rank, where they cannot be read, or are not the same on all.
    """
    beside = named_beside(settings)
    columns = tuple(settings.columns.split(",")) if settings.columns else ()
    run_on_all(comm, lambda: ensure_downloaded(data) if comm.world.local_rank == 0 else None)
    source = run_on_all(comm, lambda: load_samples(data, seed, beside, columns, settings.rows))
    run_on_all(comm, lambda: look(source))
    if not same_on_all(comm, run_on_all(comm, lambda: fingerprint(Splits(source, source)))):
        raise refused_on_all(f"data={data!r} is not the same on all ranks: give every node the same files")
    return source


def load_on_all(settings: TrainSettings, comm: Communicator) -> Splits:
    """The data as every rank sees them; one rank of each node downloads what is missing."""
    world = comm.world
    run_on_all(comm, lambda: ensure_downloaded(settings.data) if world.local_rank == 0 else None)
    source = run_on_all(comm, lambda: load_settings(settings, world))
    if not same_on_all(comm, run_on_all(comm, lambda: fingerprint(source))):
        counts = comm.all_gather(np.array([source.train.count], np.int64)).numpy().tolist()
        raise refused_on_all(f"data={settings.data!r} is not the same on all ranks (samples by rank: {counts}): give "
                             "every node the same files")
    return source


def load_settings(s: TrainSettings, world: World) -> Splits:
    """What the settings of the data say."""
    data = s.data if s.inputs is None else f"{s.data}:{s.inputs}"
    source = load(data, world, s.validation_split, s.validation_data, s.seed, named_beside(s),
                  tuple(s.columns.split(",")) if s.columns else (), s.rows)
    if s.validation_samples is None or s.validation_samples >= source.validation.count:
        return source
    return Splits(source.train, Part(source.validation, 0, s.validation_samples))
