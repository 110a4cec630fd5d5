"""Amounts of memory as users write them."""

import math
import re

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def parse_bytes(text: str) -> int:
    """Bytes of "2GB", "500MB" or a plain number; units are powers of ten.

    Raises:
        ValueError: of another form, or not positive.
    """
    given = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not given or not float(given[1]):
        raise ValueError(text)
    return int(float(given[1]) * _UNITS[given[2].upper()])


def bytes_as_text(count: float) -> str:
    """Bytes as a user would write them, rounded up: 1.3GB."""
    unit = max((unit for unit in _UNITS if _UNITS[unit] <= count), key=_UNITS.get, default="")
    return f"{math.ceil(count / _UNITS[unit] * 10) / 10:g}{unit}B" if unit else f"{math.ceil(count)}B"
