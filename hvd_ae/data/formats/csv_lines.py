"""Where blocks of a CSV file's rows begin: one pass over its bytes, before anything is parsed."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.errors import Refused
from hvd_ae.runtime.log import log

BYTES_A_PIECE = 4 << 20  # at most
_LONGEST_ROW = 64 << 20
_SECONDS_BETWEEN_WORDS = 10


@dataclass(frozen=True)
class Lines:
    """A row may be several lines, where a line's end is quoted."""

    offsets: list[int]  # the byte at which each block of whole rows begins, and the end of the last one
    rows: list[int]  # the number of each block's first row, and of all rows; a header counts as row 0
    second: int  # the byte at which row 1 begins, or the end
    has_quoted_ends: bool


def index_lines(path: Path, name: str) -> Lines:
    """Blocks of at most about four megabytes.

    Raises:
        Refused: a quotation mark that nothing closes, or a row that is no row of a table.
    """
    offsets, rows, quotes, second, has_quoted = [0], [0], 0, 0, False
    with open(path, "rb") as file:
        end = _end_of_rows(file)
        at, row, block = 0, 0, bytes_a_block(end, BYTES_A_PIECE)
        for piece in announced(file, end, f"data={name!r}: finding its lines", at_a_time=block):
            ends = _row_ends(piece, quotes)
            has_quoted |= ends.size < piece.count(b"\n")
            quotes += piece.count(b'"')
            if ends.size:
                second = second or at + int(ends[0]) + 1
                row += ends.size
                offsets.append(at + int(ends[-1]) + 1)
                rows.append(row)
            at += len(piece)
            if at - offsets[-1] > _LONGEST_ROW:
                raise Refused(f"data={name!r} has a row of more than {_LONGEST_ROW >> 20} MiB, row {row + 1}: is a quotation "
                              "mark not closed, or is this no table? mend it")
    if quotes % 2:
        raise Refused(f"data={name!r} has a quotation mark that nothing closes: mend it; within quoted text it is "
                      "written twice")
    if offsets[-1] < end:  # the last row's end is left out
        offsets.append(end)
        rows.append(row + 1)
    if len(rows) > 2 and rows[-1] - rows[-2] == 1 and offsets[-1] - offsets[-2] < block // 4:
        del offsets[-2], rows[-2]  # no block of its own for a last line
    return Lines(offsets, rows, second or end, has_quoted)


def announced(file: BinaryIO, end: int, doing: str, progress: BinaryIO | None = None,
              at_a_time: int | None = None) -> Iterator[bytes]:
    """Pieces of a file up to a byte; now and then the log is told how far it is.

    Args:
        end: of `file`; and, of `progress` (such as the packed file that `file` unpacks), what counts as all of it.
    """
    said, at, at_a_time = time.monotonic(), 0, at_a_time or BYTES_A_PIECE
    while piece := file.read(at_a_time if progress else min(at_a_time, end - at)):
        at += len(piece)
        yield piece
        if time.monotonic() - said > _SECONDS_BETWEEN_WORDS:
            said = time.monotonic()
            log.info("%s, %d%%", doing, 100 * (progress.tell() if progress else at) // end)


def _end_of_rows(file: BinaryIO) -> int:
    """The file's length without the line ends, and empty lines, that it ends with."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - 4096)
        file.seek(begin)
        tail = file.read(end - begin)
        if stripped := tail.rstrip(b"\r\n"):
            end = begin + len(stripped)
            break
        end = begin
    file.seek(0)
    return end


def _row_ends(piece: bytes, quotes_before: int) -> np.ndarray:
    """The places of line ends that are not quoted: an even number of quotation marks lies before them."""
    letters = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if quotes_before % 2 == 0 and b'"' not in piece:
        return ends
    before = quotes_before + np.searchsorted(np.flatnonzero(letters == ord('"')), ends)
    return ends[before % 2 == 0]
