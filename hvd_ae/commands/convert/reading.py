"""How the samples come: every block is read and decoded once, by all ranks together, whatever the order."""

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.order import AsItLies, Order, layout_digest
from hvd_ae.data.reading import DirectReader, Reader
from hvd_ae.data.source import Source
from hvd_ae.data.windows import WindowReader
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.input import Input


class InOrder:
    """The samples as they lie; where they have to be decoded, as many blocks at a time as the ranks' stretches need.

    Args:
        rows: samples of a stretch.
    """

    window, layout = None, None  # none that the result depends on

    def __init__(self, source: Source, rows: int, comm: Communicator):
        firsts, world = np.asarray(source.block_starts), comm.world
        sizes = np.diff(firsts, append=source.count)
        window = max(world.size, int(np.ceil(rows * world.size * len(firsts) / source.count)))
        common = source, list(source.fields), comm.reading
        self.order: Order = AsItLies(firsts, sizes, window)
        self._comm, self._exchange = comm, None if source.reads_single_samples else comm.row_exchange()
        self.reader: Reader = DirectReader(*common) if source.reads_single_samples else WindowReader(
            *common, rank=world.rank, ranks=world.size, exchange=self._exchange)

    def close(self) -> None:
        if self._exchange is not None:
            self._comm.free_beside(self._exchange)


class Shuffled:
    """The samples in the order of the first epoch of a training, read as that reads them.

    layout: what a window means; a later start must have the same.

    Raises:
        Refused: on every rank, where the memory is too small for what is asked for.
    """

    def __init__(self, source: Source, seed: int, shuffle_memory: str | None, comm: Communicator):
        settings = run_on_all(comm, TrainSettings(seed=seed, shuffle_memory=shuffle_memory).resolved)
        self._input = Input(source, list(source.fields), settings, comm)
        self.layout = layout_digest(source.block_starts)

    @property
    def window(self) -> int | None:
        """Blocks that are shuffled together; None where that is everything."""
        return self._input.memory.window

    def go_on_with(self, window: int | None) -> None:
        """As the start that began it.

        Raises:
            Refused: on every rank, where another window was asked for.
        """
        self._input.set_window(window, self.layout)

    @property
    def order(self) -> Order:
        return self._input.partition.global_order(0)

    @property
    def reader(self) -> Reader:
        return self._input.reader

    def close(self) -> None:
        self._input.close()
