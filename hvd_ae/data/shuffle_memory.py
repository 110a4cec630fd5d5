"""How much of the data is in memory at a time: everything where that fits, else windows of blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hvd_ae.data.source import Source
from hvd_ae.errors import Refused
from hvd_ae.settings.units import bytes_as_text

_WINDOWS = 2  # in memory at a time: that of the steps, and the next
_PART_OF_FREE = 0.5  # of the memory that is free: training, and whoever else computes here, need some too
_BY_BLOCKS = ("reshuffled", "contiguous", "shuffled")  # the partitions that can be read a window at a time


class Kept(Enum):
    """Where the samples are while a run lasts."""

    IN_FILE = "read from the file as they are needed"
    BY_EACH = "all in every rank's memory"
    BY_ALL = "all in the ranks' memory together"
    WINDOWS = "a window at a time"


@dataclass(frozen=True)
class ShuffleMemory:
    """How samples are kept, and the window of their order: blocks of all ranks together, None where that is everything."""

    kept: Kept
    window: int | None


def plan_memory(source: Source, fields: Sequence[str], partition: str, ranks: int, given: int | None,
                free: int) -> ShuffleMemory:
    """How the training samples are kept in the memory that there is.

    Args:
        given: bytes that all ranks together may hold of the data; None for a part of what is free.
        free: bytes of memory on all nodes together.

    Raises:
        Refused: no two windows of a block fit, or the partition needs more.
    """
    allowed = given if given is not None else int(_PART_OF_FREE * free)
    bytes_each = sum(source.fields[name].bytes_read for name in fields)
    if source.reads_single_samples:
        on_disk = source.count * sum(source.fields[name].bytes_stored for name in fields)
        is_windowed = partition == "reshuffled" and on_disk > allowed and not source.in_memory
        return ShuffleMemory(Kept.IN_FILE, _window(source, bytes_each, allowed, 1) if is_windowed else None)
    needed = source.count * bytes_each
    if needed * ranks <= allowed:
        return ShuffleMemory(Kept.BY_EACH, None)
    if needed <= allowed:
        return ShuffleMemory(Kept.BY_ALL, None)
    if partition not in _BY_BLOCKS:
        room = bytes_as_text(needed)
        raise Refused(f"partition={partition!r} takes samples of every block to every rank, and the {room} of "
                      f"data={source.name!r} do not fit into shuffle_memory={bytes_as_text(allowed)}: use --shuffle-memory "
                      f"{room}, or another partition ({', '.join(_BY_BLOCKS)})")
    return ShuffleMemory(Kept.WINDOWS, _window(source, bytes_each, allowed, 1 if partition == "reshuffled" else ranks))


def _window(source: Source, bytes_each: int, allowed: int, shares: int) -> int:
    """Blocks of a window of all ranks together, of which each of so many shares is one block at least."""
    block = _largest_block(source) * bytes_each
    window = allowed // (_WINDOWS * block)
    if window < shares:
        raise Refused(f"shuffle_memory={bytes_as_text(allowed)} is too little for data={source.name!r}, whose largest block "
                      f"has {bytes_as_text(block)}: give --shuffle-memory {bytes_as_text(_WINDOWS * block * shares)}, which "
                      "holds two windows of the fewest blocks")
    return int(window)


def memory_of(source: Source, fields: Sequence[str], window: int | None) -> int:
    """The bytes that give this window."""
    bytes_each = sum(source.fields[name].bytes_read for name in fields)
    return bytes_each * (source.count if window is None else _WINDOWS * window * _largest_block(source))


def _largest_block(source: Source) -> int:
    return int(np.diff(np.asarray(source.block_starts), append=source.count).max())
