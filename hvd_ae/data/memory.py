"""Samples that a script has in memory already, as a source."""

from collections.abc import Mapping

import numpy as np

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.load import split_off
from hvd_ae.data.source import SAMPLES, TARGETS, Field, Source, Splits
from hvd_ae.data.spec import check_sample_kind, field_beside
from hvd_ae.errors import Refused

_NAME = "an array in memory"


def splits_of(given, validation_split: float | None = None) -> Splits:
    """Training and validation samples of what a script gives, read as a file of the same arrays would be.

    Args:
        given: `Splits`, which stay as they are; or, of which the last tenth, or `validation_split`, becomes validation
            samples, a `Source`; an array (samples, ...); (samples, targets); or a dict of arrays by the name of their field
            (samples, labels, targets, condition).

    Raises:
        Refused: no such thing, or arrays that do not fit each other.
    """
    if isinstance(given, Splits):
        return given
    source = given if isinstance(given, Source) else source_of(given)
    return split_off(source, validation_split, source.name, "Splits(train, validation)")


def source_of(given, as_they_are: bool = False) -> Source:
    """Arrays as a source; they are not copied.

    Args:
        given: as in `splits_of`.
        as_they_are: whether a model is given bytes as 0 to 255, as Keras would, and not as 0 to 1.
    """
    if isinstance(given, tuple) and len(given) == 2:
        given = {SAMPLES: given[0], TARGETS: given[1]}
    arrays = {name: np.asarray(values) for name, values in (given if isinstance(given, Mapping) else {SAMPLES: given}).items()}
    if SAMPLES not in arrays:
        raise Refused(f"the arrays given are {', '.join(arrays)}: one of them must be called {SAMPLES}")
    samples = arrays[SAMPLES]
    check_sample_kind(samples.shape, samples.dtype, _NAME)
    fields = {name: _field(name, values, len(samples), as_they_are) for name, values in arrays.items()}
    return ArraySource(_NAME, arrays, fields)


def _field(name: str, values: np.ndarray, count: int, as_they_are: bool) -> Field:
    field = field_beside(name, values.shape, values.dtype, count, f"{_NAME} of {name}")
    if as_they_are and field.scale != 1.0:
        return Field(field.shape, field.dtype, 1.0, field.bytes_stored)
    return field
