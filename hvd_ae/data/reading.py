"""How a rank comes by the samples of its steps: from the file, from memory, or a window at a time."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from hvd_ae.data.epoch_plan import EpochPlan
from hvd_ae.data.source import Source

Note = Callable[[str], AbstractContextManager]  # says what a rank reads while the context lasts, should it take too long


class Reader(ABC):
    """Reads the samples of steps. `read` is called by one thread, on every rank for the same steps in the same order.

    Args:
        note: called with what is about to be read, such as "samples 0 to 255 of 'run.h5'".
    """

    def __init__(self, source: Source, fields: Sequence[str], note: Note = lambda what: nullcontext()):
        self.source, self.fields, self._note = source, tuple(fields), note
        self._bytes_each = sum(source.fields[name].bytes_stored for name in fields)
        self.bytes_decoded = 0  # by this rank, as they lie before compression
        self.seconds = 0.0  # in which this rank has read, and waited for others to read

    def prepare(self) -> None:
        """What is done once, before the first step (every rank calls it)."""

    def read(self, plan: EpochPlan, first_step: int, end_step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """By field the samples of these steps of a plan, and their numbers."""
        started = time.perf_counter()
        try:
            return self._read(plan, first_step, end_step)
        finally:
            self.seconds += time.perf_counter() - started

    @abstractmethod
    def _read(self, plan: EpochPlan, first_step: int, end_step: int) -> tuple[dict[str, np.ndarray], np.ndarray]: ...

    def decode(self, firsts: np.ndarray, sizes: np.ndarray, into: dict[str, np.ndarray], at: int = 0) -> int:
        """Put the samples of blocks, or of stretches within blocks, one after the other; returns where they end.

        Args:
            firsts: the number of each stretch's first sample.
            into: by field, arrays whose first axis counts samples.
            at: where in them the first stretch begins.
        """
        starts = np.asarray(self.source.block_starts)
        for first, size in zip(firsts.tolist(), sizes.tolist()):
            block = int(np.searchsorted(starts, first, side="right")) - 1
            with self._note(f"samples {first} to {first + size - 1} of {self.source.name!r}"):
                read = self.source.read_block(block, self.fields)
            for name in self.fields:
                into[name][at : at + size] = read[name][first - starts[block] : first - starts[block] + size]
            self.bytes_decoded += self._bytes_each * len(read[self.fields[0]])
            at += size
        return at

    def empty(self, samples: int) -> dict[str, np.ndarray]:
        """By field, memory for so many samples."""
        return {name: np.empty((samples, *shape), dtype) for name, (shape, dtype) in self.row_kinds.items()}

    @property
    def row_kinds(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """By field, the shape and dtype of one sample."""
        return {name: (self.source.fields[name].shape, self.source.fields[name].dtype) for name in self.fields}


class DirectReader(Reader):
    """Samples that cost no more than their own bytes: each rank reads those that it needs."""

    def _read(self, plan: EpochPlan, first_step: int, end_step: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        indices = plan.order.indices(plan.positions_of(first_step, end_step))
        with self._note(f"{len(indices)} samples of {self.source.name!r}"):
            read = self.source.read(indices, self.fields)
        self.bytes_decoded += self._bytes_each * len(indices)
        return read, indices
