"""Numbers as NetCDF's conventions pack them: value = stored * scale_factor + add_offset, and what is fill is missing.

https://cfconventions.org/cf-conventions/cf-conventions.html#packed-data and #missing-data; HDF5 files of simulations carry the
same attributes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hvd_ae.data.formats.rows import Rows
from hvd_ae.errors import Refused

NAMES = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")


@dataclass(frozen=True)
class Packing:
    """How stored numbers become values."""

    scale: float = 1.0
    offset: float = 0.0
    fills: tuple = ()  # stored numbers that mean "missing", as NumPy scalars of the stored type
    is_unsigned: bool = False  # NetCDF-3 has no unsigned types: `_Unsigned` says that signed ones are meant so

    @classmethod
    def of(cls, attributes: Mapping[str, object], dtype: np.dtype, name: str) -> "Packing":
        """From a variable's attributes, any of `NAMES`.

        Raises:
            Refused: an attribute is not what the conventions say.
        """
        unsigned = attributes.get("_Unsigned", b"false")
        unsigned = unsigned.decode() if isinstance(unsigned, bytes) else str(unsigned)
        is_unsigned = dtype.kind == "i" and unsigned.lower() == "true"
        stored = np.dtype(f"u{dtype.itemsize}") if is_unsigned else dtype
        fills = [fill for key in ("_FillValue", "missing_value") if key in attributes
                 for fill in _fills(attributes[key], stored)]
        numbers = [_number(attributes, key, default, name) for key, default in (("scale_factor", 1.0), ("add_offset", 0.0))]
        return cls(*numbers, tuple(fills), is_unsigned)

    @property
    def is_none(self) -> bool:
        """Whether what is stored is the value: where fill is NaN, as xarray writes it, there is nothing to do."""
        return self.scale == 1.0 and self.offset == 0.0 and not self.fills and not self.is_unsigned

    def unpacked(self, stored: np.ndarray) -> np.ndarray:
        """The values, float32 (computed in float64), NaN where they are missing."""
        if self.is_unsigned:
            stored = stored.view(stored.dtype.str.replace("i", "u"))
        missing = np.zeros(stored.shape, bool)
        for fill in self.fills:
            missing |= stored == fill
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 becomes inf, which `checks` refuses
            values = (stored * np.float64(self.scale) + self.offset).astype(np.float32)
        values[missing] = np.nan
        return values


class Unpacked:
    """Rows of packed numbers as their values."""

    def __init__(self, rows: Rows, packing: Packing):
        self._rows, self._packing, self.shape, self.dtype = rows, packing, rows.shape, np.dtype(np.float32)

    def __getitem__(self, stretch: slice) -> np.ndarray:
        return self._packing.unpacked(np.asarray(self._rows[stretch]))


def _fills(given: object, dtype: np.dtype) -> list:
    """As stored numbers; what none can be equal to, such as NaN, text, or 1e20 for an integer, is none."""
    given = np.atleast_1d(np.asarray(given)).ravel()
    if given.dtype.kind not in "fiub" or dtype.kind not in "fiu":
        return []
    if dtype.kind in "iu" and given.dtype.kind in "iu" and given.dtype.itemsize == dtype.itemsize:
        return list(given.astype(dtype))  # -1 as the fill of an unsigned byte is 255
    with np.errstate(over="ignore", invalid="ignore"):
        cast = given.astype(dtype)
    return [of_type for of_type, as_given in zip(cast, given)
            if of_type == of_type and (dtype.kind == "f" or of_type == as_given)]


def _number(attributes: Mapping[str, object], key: str, default: float, name: str) -> float:
    given = np.asarray(attributes.get(key, default))
    if given.size != 1 or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
        raise Refused(f"data={name!r} has the attribute {key}={given.tolist()!r}, which must be one finite number: mend or "
                      "delete it")
    return float(given.ravel()[0])
