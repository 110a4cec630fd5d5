"""What a training is fed with: how its samples are dealt to ranks and ordered, how they are kept, and who reads them."""

import time
from collections.abc import Sequence

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.held import HeldReader
from hvd_ae.data.order import layout_digest
from hvd_ae.data.partition import Partition
from hvd_ae.data.reading import DirectReader, Reader
from hvd_ae.data.shuffle_memory import Kept, ShuffleMemory, memory_of, plan_memory
from hvd_ae.data.source import LABELS, Source
from hvd_ae.data.windows import WindowReader
from hvd_ae.runtime.consensus import refused_on_all, run_on_all
from hvd_ae.runtime.log import log
from hvd_ae.runtime.memory import free_bytes
from hvd_ae.settings.train import TrainSettings
from hvd_ae.settings.units import bytes_as_text, parse_bytes


class Input:
    """The training samples of a job (every rank makes one, and calls the same methods).

    Args:
        fields: those that the task reads.

    Raises:
        Refused: on every rank, where memory is too small for what is asked for.
    """

    def __init__(self, source: Source, fields: Sequence[str], settings: TrainSettings, comm: Communicator):
        self._source, self._fields, self._settings, self._comm = source, tuple(fields), settings, comm
        world, given = comm.world, settings.shuffle_memory
        free = comm.sum(np.array([free_bytes() if world.local_rank == 0 else 0], np.int64)).numpy()[0]
        self.memory: ShuffleMemory = run_on_all(comm, lambda: plan_memory(
            source, fields, settings.partition, world.size, None if given is None else parse_bytes(given), int(free)))
        self._classes = source.read_all(LABELS) if settings.partition == "label-skew" and LABELS in source.fields else None
        self.partition = self._deal()
        self._exchange, self._reader = None, None
        self._measured = (0, 0.0)  # up to the last report

    def _deal(self) -> Partition:
        s, window = self._settings, self.memory.window
        return Partition(s.partition, self._source.count, s.seed, self._classes, s.concentration, window,
                         None if window is None else np.asarray(self._source.block_starts))

    @property
    def layout(self) -> int | None:
        """What a window of so many blocks means; None where there are no windows."""
        return None if self.memory.window is None else layout_digest(self._source.block_starts)

    def set_window(self, window: int | None, layout: int | None) -> None:
        """Go on with the window of what was begun before, until anything is read.

        Args:
            layout: as it was then; None where there were no windows, or by an hvd_ae that did not say.

        Raises:
            Refused: on every rank, where another window was asked for, or its blocks are others now.
        """
        if window is not None and layout != layout_digest(self._source.block_starts):
            raise refused_on_all(f"this was begun within windows of other blocks than data={self._source.name!r} has now, by "
                                 "another hvd_ae or before the data were written anew: go on with that version and those "
                                 "data, or begin anew, elsewhere")
        if window == self.memory.window:
            return
        given = self._settings.shuffle_memory
        if given is not None:
            needed = memory_of(self._source, self._fields, window)  # to the byte: a rounded one could give another window
            raise refused_on_all(f"shuffle_memory={given} gives the samples another order than this run has had so far: go on "
                                 f"with --shuffle-memory {needed}, or without it")
        kept = self.memory.kept
        if kept is not Kept.IN_FILE:
            kept = Kept.BY_ALL if window is None else Kept.WINDOWS
        self.memory = ShuffleMemory(kept, window)
        self.partition = self._deal()

    @property
    def reader(self) -> Reader:
        """How this rank comes by its samples (every rank asks for it for the first time at the same moment)."""
        if self._reader is None:
            self._reader = self._make_reader()
        return self._reader

    def _make_reader(self) -> Reader:
        kept, world, common = self.memory.kept, self._comm.world, (self._source, self._fields, self._comm.reading)
        if kept is Kept.IN_FILE:
            return DirectReader(*common)
        if kept is Kept.WINDOWS and self.partition.partition != "reshuffled":
            return WindowReader(*common, rank=0, ranks=1, exchange=None)
        self._exchange = self._comm.row_exchange()
        shared = {"rank": world.rank, "ranks": world.size, "exchange": self._exchange}
        if kept is Kept.WINDOWS:
            return WindowReader(*common, **shared)
        return HeldReader(*common, **shared, whole=kept is Kept.BY_EACH)

    @property
    def holds_all(self) -> bool:
        """Whether all training samples stay in memory, so that there is room for those of validation too."""
        return self.memory.kept in (Kept.BY_EACH, Kept.BY_ALL)

    def prepare(self) -> float:
        """Read what is read once, before the first step; the seconds that it took."""
        started = time.perf_counter()
        if self._comm.world.is_root and self.memory.kept is not Kept.IN_FILE:
            log.info(self.describe())
        with self._comm.busy("reading the data"):
            self.reader.prepare()
        return time.perf_counter() - started

    def describe(self) -> str:
        """How samples are kept, for a person."""
        everything = bytes_as_text(memory_of(self._source, self._fields, None))
        if self.memory.window is None:
            return f"samples: {everything}, {self.memory.kept.value}, shuffled as a whole"
        held = bytes_as_text(memory_of(self._source, self._fields, self.memory.window))
        return (f"samples: {everything}, shuffled within windows of {self.memory.window} of {len(self._source.block_starts)} "
                f"blocks, {held} in the ranks' memory together (see --shuffle-memory)")

    def measured(self) -> tuple[int, float]:
        """The bytes that this rank has decoded since the last call, as they lie before compression, and the seconds."""
        now = self.reader.bytes_decoded, self.reader.seconds
        before, self._measured = self._measured, now
        return now[0] - before[0], now[1] - before[1]

    @property
    def data_bytes(self) -> int:
        """Of all training samples as they lie before compression."""
        return self._source.count * sum(self._source.fields[name].bytes_stored for name in self._fields)

    def close(self) -> None:
        """Give back what readers took."""
        if self._exchange is not None:
            self._comm.free_beside(self._exchange)
