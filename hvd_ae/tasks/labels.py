"""The classes of samples, where a task needs to know how many there are."""

import numpy as np

from hvd_ae.data.source import LABELS, Splits
from hvd_ae.errors import Refused

_MOST = 1000


def count_classes(source: Splits) -> int:
    """How many there are, from 0 on.

    Raises:
        Refused: labels below 0, or too many.
    """
    labels = [part.read_all(LABELS) for part in (source.train, source.validation)]
    low, high = min(int(np.min(each)) for each in labels), max(int(np.max(each)) for each in labels)
    if low < 0 or high >= _MOST:
        raise Refused(f"data={source.train.name!r} has labels from {low} to {high}: classes are numbered from 0 to at most "
                      f"{_MOST - 1} here; number yours so")
    return high + 1
