"""All samples in the ranks' memory: every block is read and decoded once a run, by one rank."""

import time
from typing import TYPE_CHECKING

import numpy as np

from hvd_ae.data.epoch_plan import EpochPlan
from hvd_ae.data.partition import dealt
from hvd_ae.data.reading import Reader

if TYPE_CHECKING:  # needs MPI
    from hvd_ae.collectives.row_exchange import RowExchange


class HeldReader(Reader):
    """Ranks decode blocks in equal shares; then each keeps all samples, or its share, of which others ask for samples.

    Args:
        rank, ranks: this rank, and how many there are.
        exchange: None where there is one rank.
        whole: whether every rank keeps all samples.
    """

    def __init__(self, *args, rank: int, ranks: int, exchange: "RowExchange | None", whole: bool, **kwargs):
        super().__init__(*args, **kwargs)
        self._rank, self._exchange, self._whole = rank, exchange, whole or exchange is None
        self._firsts = np.asarray(self.source.block_starts)
        self._sizes = np.diff(self._firsts, append=self.source.count)
        self._owners = dealt(self._sizes, ranks)
        self._counts = np.bincount(self._owners, self._sizes, ranks).astype(np.int64)  # samples of each rank's share
        self._starts = np.concatenate([[0], np.cumsum(self._counts)])
        self._held: dict[str, np.ndarray] | None = None

    def prepare(self) -> None:
        if self._held is not None:
            return
        started, own = time.perf_counter(), self._owners == self._rank
        if self._whole:
            self._held, first = self.empty(self.source.count), int(self._starts[self._rank])
        else:
            self._memory, first = self._exchange.memory(self.row_kinds, int(self._counts.max())), 0
            self._held = self._memory.own
        self.decode(self._firsts[own], self._sizes[own], self._held, first)
        if self._whole and self._exchange is not None:
            self._exchange.gather(self._held, self._counts)
        elif not self._whole:
            self._exchange.meet()  # from here on each may take of all
        self.seconds += time.perf_counter() - started

    def _read(self, plan: EpochPlan, first_step: int, end_step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        self.prepare()
        indices = plan.order.indices(plan.positions_of(first_step, end_step))
        if self._whole:
            return {name: array[indices] for name, array in self._held.items()}, indices
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        chosen = self.empty(len(indices))
        self._exchange.take(owners, indices - self._starts[owners], self._memory, chosen, np.arange(len(indices)))
        return chosen, indices
