"""The samples that a command other than training works on, the same on all ranks."""

from collections.abc import Callable
from typing import Protocol

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.load import fingerprint, load_samples, named_beside
from hvd_ae.data.source import Source, Splits
from hvd_ae.runtime.consensus import refused_on_all, run_on_all, same_on_all


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
