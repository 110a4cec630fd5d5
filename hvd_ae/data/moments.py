"""Count, mean, sum of squared deviations, lowest and highest of columns of numbers, and how two of them become one.

They are a table, float64 (5, columns). NaN are not counted; of no values the bounds are inf and -inf, all else is 0.
"""

import numpy as np

MOMENTS = 5


def moments_of(values: np.ndarray, columns: int) -> np.ndarray:
    """Of values (samples, features), of which feature f falls into column f modulo `columns`.

    Features are measured by themselves and merged then, so that a sum has no more than `samples` terms, and with what
    rounding has left of the mean put right (Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115).
    """
    values = values.astype(np.float64)
    there = ~np.isnan(values)
    is_whole = bool(there.all())

    def kept(numbers: np.ndarray, otherwise: float) -> np.ndarray:
        return numbers if is_whole else np.where(there, numbers, otherwise)

    count = there.sum(axis=0)
    low, high = kept(values, np.inf).min(axis=0, initial=np.inf), kept(values, -np.inf).max(axis=0, initial=-np.inf)
    divisor = np.maximum(count, 1)
    mean = kept(values, 0.0).sum(axis=0) / divisor
    deviations = kept(values - mean, 0.0)
    left = deviations.sum(axis=0) / divisor
    squares = np.square(deviations).sum(axis=0) - count * np.square(left)
    table = np.stack([count, mean + left, np.maximum(squares, 0.0), low, high])
    return table if columns == table.shape[1] else _collapsed(table.reshape(MOMENTS, -1, columns))


def _collapsed(tables: np.ndarray) -> np.ndarray:
    """(5, parts, columns) to (5, columns)."""
    counts, means, squares, lows, highs = tables
    count = counts.sum(axis=0)
    mean = (counts * means).sum(axis=0) / np.maximum(count, 1.0)
    return np.stack([count, mean, squares.sum(axis=0) + (counts * np.square(means - mean)).sum(axis=0), lows.min(axis=0),
                     highs.max(axis=0)])


def merged(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One table of two."""
    count = first[0] + second[0]
    share = second[0] / np.maximum(count, 1.0)
    apart = np.where((first[0] > 0) & (second[0] > 0), second[1] - first[1], 0.0)
    return np.stack([count, np.where(first[0] > 0, first[1], second[1]) + apart * share,
                     first[2] + second[2] + np.square(apart) * first[0] * share,
                     np.minimum(first[3], second[3]), np.maximum(first[4], second[4])])
