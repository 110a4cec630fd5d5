"""Rows of plain numbers in the midst of a file that several ranks write.

By writing and not through a memory map: a full disk is then an error and no SIGBUS, and on NFS two nodes may write within
one page. Each write is on the disk when it returns (O_DSYNC), and NFS then writes no bytes beside those that it was given.
"""

import math
import os
from pathlib import Path

import numpy as np

from hvd_ae.data.source import Field


def write_rows(path: Path, offset: int, values: np.ndarray) -> None:
    """Put the values' bytes where they belong."""
    left = memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    descriptor = os.open(path, os.O_WRONLY | os.O_DSYNC)
    try:
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written
    finally:
        os.close(descriptor)


def read_rows(path: Path, offset: int, rows: int, field: Field) -> np.ndarray:
    """What `write_rows` put there, (rows, *shape)."""
    return np.fromfile(path, field.dtype, rows * math.prod(field.shape), offset=offset).reshape(rows, *field.shape)
