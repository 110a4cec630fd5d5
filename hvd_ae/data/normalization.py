"""Values on a common scale, and back: a model sees (f(x) - shift) / scale, f being nothing or log(1 + x)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Normalization:
    """Of one field. NumPy here; `tasks/task.py` does the same in the graph, `models/raw_units.py` in a saved model.

    shift, scale: float32, of the shape of one sample's field, or of one that broadcasts to it: (channels,), or ().
    logarithm: whether x is log(1 + x) before that.
    fill: what a model is given, as it sees it, where a value is missing (NaN), shaped like shift; None where none may be.
    bounds: lowest and highest that the model sees of training samples, where that is known.
    """

    shift: np.ndarray
    scale: np.ndarray
    logarithm: bool = False
    fill: np.ndarray | None = None
    bounds: tuple[float, float] | None = None

    @property
    def factor(self) -> np.ndarray:
        """1 / scale, float32: of a scale too small for that, the largest there is."""
        with np.errstate(over="ignore", divide="ignore"):
            return np.minimum(np.float32(1.0) / self.scale, np.finfo(np.float32).max)

    def seen(self, values: np.ndarray) -> np.ndarray:
        """What a model is given of float32 values (samples, ...), what is missing filled in."""
        values = (np.log1p(values) if self.logarithm else values) - self.shift
        values = values * self.factor
        return values if self.fill is None else np.where(np.isnan(values), self.fill, values)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `seen`, float32."""
        values = values * self.scale + self.shift
        return np.expm1(values) if self.logarithm else values
