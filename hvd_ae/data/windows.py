"""Samples a window at a time: of data that do not fit into memory, every block is read and decoded once an epoch."""

from typing import TYPE_CHECKING

import numpy as np

from hvd_ae.collectives.put_rows import put_rows
from hvd_ae.data.epoch_plan import EpochPlan
from hvd_ae.data.order import Rest, WindowedOrder
from hvd_ae.data.partition import dealt
from hvd_ae.data.reading import Reader

if TYPE_CHECKING:  # needs MPI
    from hvd_ae.collectives.row_exchange import RowExchange
    from hvd_ae.collectives.row_memory import RowMemory


class WindowReader(Reader):
    """Two windows are in memory: that which steps take samples of, and the next, which is decoded at the pace of the steps.

    Args:
        rank, ranks: this rank, and how many share a window's blocks and ask one another for samples; 0 and 1 where each rank
            has windows of its own, of a partition that is kept.
        exchange: None where there is one rank.
    """

    def __init__(self, *args, rank: int, ranks: int, exchange: "RowExchange | None", **kwargs):
        super().__init__(*args, **kwargs)
        self._rank, self._ranks, self._exchange = rank, ranks, exchange
        self._order: WindowedOrder | None = None
        self._windows: dict[int, _Window] = {}
        self._memories: list[RowMemory | dict[str, np.ndarray]] = []  # two, that windows have in turn

    def _read(self, plan: EpochPlan, first_step: int, end_step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        order, positions = plan.order, plan.positions_of(first_step, end_step)
        first, end = plan.span_of(first_step, end_step)
        if isinstance(order, Rest):  # of a rank's own: its span is where its own positions are
            order, positions = order.whole, order.positions[positions]
            first, end = (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)
        if order is not self._order:
            self._begin(order)
        chosen, numbers = self.empty(len(positions)), np.empty(len(positions), np.int64)
        if first < end:
            for number in range(order.window_of(first), order.window_of(end - 1) + 1):
                self._take(number, positions, chosen, numbers)
            self._decode_ahead(number, end)
        return chosen, numbers

    def _begin(self, order: WindowedOrder) -> None:
        self._order, self._windows = order, {}
        if self._exchange is not None:
            self._exchange.meet()  # others may still take of the last windows
        if not self._memories:
            rows = min(order.most_samples, -(-order.most_samples // self._ranks) + order.largest_block)
            self._memories = [self._memory(rows) for _ in range(2)]

    def _memory(self, rows: int) -> "RowMemory | dict[str, np.ndarray]":
        return self.empty(rows) if self._exchange is None else self._exchange.memory(self.row_kinds, rows)

    def _take(self, number: int, positions: np.ndarray, chosen: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        """Put the samples at those positions that lie in a window where they belong (ranks that share it all call it)."""
        window = self._window(number)
        window.decode(1.0)
        for past in [other for other in self._windows if other < number]:
            del self._windows[past]
        if self._exchange is not None and not window.is_whole:
            self._exchange.meet()  # all have decoded it, and taken what they needed of the one before
        window.is_whole = True
        first, end = self._order.window_range(number)
        inside = np.flatnonzero((positions >= first) & (positions < end))
        owners, rows, numbers[inside] = window.locate(self._order.places(number, positions[inside]))
        if self._exchange is not None:
            self._exchange.take(owners, rows, window.memory, chosen, inside)
            return
        for name, array in window.memory.items():
            put_rows(array, rows, chosen[name], inside)

    def _decode_ahead(self, number: int, position: int) -> None:
        """Decode as large a part of the next window as steps have taken of this one."""
        first, end = self._order.window_range(number)
        if end < self._order.count:
            self._window(number + 1).decode((position - first) / (end - first))

    def _window(self, number: int) -> "_Window":
        if number not in self._windows:
            memory = self._memories[number % 2]
            own = memory if self._exchange is None else memory.own
            self._windows[number] = _Window(self, *self._order.blocks_of(number), self._rank, self._ranks, memory, own)
        return self._windows[number]


class _Window:
    """This rank's share of a window's blocks.

    memory: where it is.
    is_whole: whether all ranks are known to have decoded their shares.

    Args:
        firsts, sizes: the number of the first sample, and the samples, of each block of the window.
        own: by field, the arrays that this rank's share is put into.
    """

    def __init__(self, reader: Reader, firsts: np.ndarray, sizes: np.ndarray, rank: int, ranks: int, memory,
                 own: dict[str, np.ndarray]):
        owners = dealt(sizes, ranks)
        self._reader, self._starts, self._owners = reader, np.cumsum(sizes) - sizes, owners
        # of each block, where its samples lie in its owner's memory
        before = np.concatenate([[0], np.cumsum(np.bincount(owners, sizes, ranks).astype(np.int64))])[owners]
        self._rows, self._numbers = self._starts - before, firsts
        mine = owners == rank
        self._firsts, self._sizes = firsts[mine], sizes[mine]
        self.memory, self._own, self.is_whole = memory, own, False
        self._decoded, self._end = 0, 0  # blocks, and samples of them

    def decode(self, part: float) -> None:
        """Decode on until that part of this rank's blocks is there."""
        until = int(np.ceil(part * len(self._firsts)))
        if until > self._decoded:
            chosen = slice(self._decoded, until)
            self._end = self._reader.decode(self._firsts[chosen], self._sizes[chosen], self._own, self._end)
            self._decoded = until

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the sample at each place of the window the rank that holds it, the row in that rank's memory, and its number."""
        block = np.searchsorted(self._starts, places, side="right") - 1
        within = places - self._starts[block]
        return self._owners[block], self._rows[block] + within, self._numbers[block] + within
