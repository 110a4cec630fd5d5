"""A source whose fields are normalized as the settings say, by statistics of the training samples."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from hvd_ae.data.normalization import Normalization
from hvd_ae.data.source import Field, Source
from hvd_ae.data.statistics import Wanted


class Normalized(Source):
    """Another source, read as it is, of whose fields a model sees something else.

    Args:
        normalizations: by field.
    """

    def __init__(self, source: Source, normalizations: Mapping[str, Normalization]):
        self.name, self.count = source.name, source.count
        self.reads_single_samples, self.in_memory = source.reads_single_samples, source.in_memory
        self.fields = {name: dataclasses.replace(field, normalization=normalizations.get(name, field.normalization))
                       for name, field in source.fields.items()}
        self._source = source

    @property
    def block_starts(self) -> np.ndarray:
        return self._source.block_starts

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self._source.read(indices, fields)

    def read_block(self, block: int, fields: Sequence[str]) -> dict[str, np.ndarray]:
        return self._source.read_block(block, fields)

    def number(self, index: int) -> int | str:
        return self._source.number(index)


@dataclasses.dataclass(frozen=True)
class Rule:
    """How fields are to be normalized: the settings of these names, in parts.

    scaling: none, standard, minmax or robust.
    per: feature, channel or all; None for what suits a field's shape.
    missing: refuse, mean or zero.
    """

    scaling: str
    logarithm: bool
    per: str | None
    missing: str

    @classmethod
    def of(cls, normalize: str, per: str | None, missing: str) -> "Rule":
        log, _, scaling = normalize.partition("+") if normalize.startswith("log1p") else ("", "", normalize)
        return cls(scaling or "none", bool(log), per, missing)

    @property
    def is_none(self) -> bool:
        """Whether values stay as they are, and all have to be there."""
        return self == Rule("none", False, self.per, "refuse")

    @property
    def needs_statistics(self) -> bool:
        return self.scaling != "none" or self.logarithm or self.missing == "mean"

    def columns_of(self, field: Field) -> tuple[int, ...]:
        """The shape of what has a scale of its own: the sample's, (channels,) or ()."""
        per = self.per or ("feature" if len(field.shape) < 2 else "channel")
        return {"feature": field.shape, "channel": field.shape[-1:], "all": ()}[per]

    def wanted(self, field: Field) -> Wanted:
        """What has to be measured of a field."""
        return Wanted(math.prod(self.columns_of(field)), self.logarithm, self.scaling == "robust")

    def normalization(self, field: Field, table: np.ndarray | None) -> Normalization:
        """Of a field, by the table that was measured of it.

        What is the same in all training samples is moved to 0 and keeps its scale, and so does what has no spread between
        its quartiles; of what has no values at all nothing is changed.
        """
        shape = self.columns_of(field)
        if table is None:
            return _as_arrays(np.zeros(shape), np.ones(shape), self.logarithm, np.zeros(shape))
        count, mean, squares, low, high = table[:5]
        is_empty = count == 0
        low, high = np.where(is_empty, 0.0, low), np.where(is_empty, 0.0, high)
        shift, scale = {"none": lambda: (0.0 * mean, 1.0 + 0.0 * mean),
                        "standard": lambda: (np.where(low == high, low, mean), np.sqrt(squares / np.maximum(count, 1))),
                        "minmax": lambda: (low, high - low),
                        "robust": lambda: (table[6], table[7] - table[5])}[self.scaling]()
        scale = np.where((scale > 0) & (low < high), scale, 1.0)
        fill = {"refuse": None, "mean": mean, "zero": 0.0 * mean}[self.missing]
        seen = (low - shift) / scale, (high - shift) / scale
        return _as_arrays(*(None if each is None else each.reshape(shape) for each in (shift, scale)), self.logarithm,
                          None if fill is None else fill.reshape(shape), (float(seen[0].min()), float(seen[1].max())))


def _as_arrays(shift, scale, logarithm: bool, fill, bounds: tuple[float, float] | None = None) -> Normalization:
    """In float32; `fill` is in the units before shift and scale, which is (0) the same for log(1 + x) and x."""
    shift, scale = (np.asarray(each, np.float32) for each in (shift, scale))
    made = Normalization(shift, np.maximum(scale, np.finfo(np.float32).tiny), logarithm, bounds=bounds)
    if fill is None:
        return made
    return dataclasses.replace(made, fill=(np.asarray(fill, np.float32) - shift) * made.factor)
