"""What is written: which values, and the stretches in which it is done, which are the same on any number of ranks."""

import math
from collections.abc import Mapping

import numpy as np

from hvd_ae.commands.convert.pieces import note
from hvd_ae.data.epoch_plan import EpochPlan
from hvd_ae.data.order import Order
from hvd_ae.data.source import LABELS, SAMPLES, Field, Source
from hvd_ae.runtime.world import World

_BYTES_A_CHUNK = 1 << 20
_BYTES_A_PIECE = 16 << 20


class Layout:
    """The samples as they are written.

    main: the field that has the name which the user gave.
    fields: by name, as a reader will find each: bytes stay bytes, classes int64, all else is float32.
    count: of samples.
    rows_a_chunk: samples that a chunked format keeps together, about 1 MB.
    rows_a_piece: samples that have a checksum of their own, whole chunks, about 16 MB; of every format the same.
    """

    main = SAMPLES

    def __init__(self, source: Source):
        self._read = source.fields
        self.fields = {name: _written(name, field) for name, field in source.fields.items()}
        self.count = source.count
        self.bytes_each = max(1, sum(field.bytes_read for field in self.fields.values()))
        self.rows_a_chunk = max(1, _BYTES_A_CHUNK // self.bytes_each)
        self.rows_a_piece = self.rows_a_chunk * max(1, _BYTES_A_PIECE // (self.rows_a_chunk * self.bytes_each))

    def rows_of(self, pieces: int) -> int:
        """Samples of a stretch of so many pieces."""
        return pieces * self.rows_a_piece

    @property
    def names(self) -> dict[str, list[str]]:
        """Of the classes that were text."""
        return {name: list(field.names) for name, field in self._read.items() if field.names}

    def as_written(self, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Values as they were read, (rows, *shape), in the dtype in which they are written."""
        return {name: values if values.dtype == self.fields[name].dtype and self._read[name].scale == self.fields[name].scale
                else self._read[name].as_seen(values) for name, values in read.items()}

    def notes(self, values: Mapping[str, np.ndarray]) -> list[str]:
        """What is noted of each piece of a stretch that begins with a piece."""
        return [note({name: array[first : first + self.rows_a_piece] for name, array in values.items()})
                for first in range(0, len(next(iter(values.values()))), self.rows_a_piece)]


def _written(name: str, field: Field) -> Field:
    if name == LABELS:
        return Field((), np.dtype(np.int64), 1.0, 8)
    written = Field.of_numbers(field.shape, field.dtype)
    return written if written.scale == field.scale else Field.of_numbers(field.shape, np.dtype(np.float32))


def plan_stretches(order: Order, rows: int, done: int, world: World) -> EpochPlan:
    """This rank's stretches of what is left of an order: in each step the ranks take one each, in rank order.

    Args:
        rows: samples of a stretch; the last one may have fewer.
        done: stretches that are written already.
    """
    start = min(done * rows, order.count)
    steps = math.ceil((order.count - start) / (rows * world.size))
    firsts = start + np.arange(steps * world.size).reshape(steps, world.size) * rows
    sizes = np.clip(order.count - firsts, 0, rows)

    def positions(own: np.ndarray) -> np.ndarray:
        step, within = np.divmod(own, rows)
        return start + (step * world.size + world.rank) * rows + within

    return EpochPlan(order, positions, sizes[:, world.rank].astype(np.int64), sizes.sum(axis=1), start, shared=True)
