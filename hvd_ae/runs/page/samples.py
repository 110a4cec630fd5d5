"""`samples.npz`: some validation samples, what a model makes of them and their codes, small enough for a page.

    kind                    "picture", "lines" or "slices": how samples of this shape are shown
    number, original, reconstruction, error         the first few, and the error of each (mean square, raw units)
    worst_number, worst_original, ...               those with the largest errors, of as many as were looked at
    looked_at               how many those are
    points, share           codes in their first two principal components (samples, 2), and these' shares of the variance
    labels, label_names     classes of the same samples, where they have any
    value                   mean, standard deviation, smallest and largest of the values that were looked at
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_ae.data.source import LABELS, SAMPLES, Source
from hvd_ae.models.autoencoders import code_of
from hvd_ae.runs.files import replacing
from hvd_ae.runs.plots import first_two_components, picture_shape
from hvd_ae.tasks.task import Task, given_to_saved

SHOWN, _WORST, _LOOKED_AT = 8, 8, 2000
_BYTES = 64 << 20  # of samples that are looked at, at most
_AT_ONCE = 256
_SIDE, _SIDE_IN_COLOUR, _LONG = 96, 56, 400  # pixels of a picture, points of a line


@dataclass(frozen=True)
class Look:
    """What a model makes of the first validation samples; reconstructions and codes in the samples' order, float32."""

    originals: np.ndarray
    reconstructions: np.ndarray
    codes: np.ndarray | None
    labels: np.ndarray | None
    label_names: tuple[str, ...] = ()

    @property
    def errors(self) -> np.ndarray:
        """Mean square of each sample, of what is not missing (float64)."""
        difference = (self.originals.astype(np.float64) - self.reconstructions).reshape(len(self.originals), -1)
        present = np.isfinite(difference)
        counts = np.maximum(present.sum(axis=1), 1)
        return np.square(np.where(present, difference, 0.0)).sum(axis=1) / counts


def look(task: Task, parts: Mapping[str, Callable], source: Source) -> Look:
    """Pass the first samples through a model that takes and gives raw units, and through its encoder.

    Args:
        parts: "model", and "encoder" where there is one.
    """
    field = source.fields[SAMPLES]
    count = min(source.count, _LOOKED_AT, max(SHOWN, _BYTES // max(1, 4 * int(np.prod(field.shape)))))
    chosen = np.arange(count)
    pieces = np.array_split(chosen, max(1, -(-count // _AT_ONCE)))

    def passed_through(function: Callable) -> np.ndarray:
        given = (given_to_saved(task, source.read(piece, task.fields), source.fields) for piece in pieces)
        return np.concatenate([np.asarray(code_of(function(each, training=False)), np.float32) for each in given])

    has_labels = LABELS in source.fields
    return Look(source.seen(chosen), passed_through(parts["model"]),
                passed_through(parts["encoder"]) if "encoder" in parts else None,
                source.read(chosen, [LABELS])[LABELS] if has_labels else None,
                source.fields[LABELS].names if has_labels else ())


def save_look(seen: Look, path: Path) -> None:
    """Write what a page shows of it."""
    errors = seen.errors
    worst = np.argsort(-errors, kind="stable")[: min(_WORST, len(errors))]
    first, of_worst = (_views(seen, chosen, errors) for chosen in (np.arange(min(SHOWN, len(errors))), worst))
    arrays = {"looked_at": len(errors), "value": _moments(seen.originals), **first,
              **{f"worst_{name}": array for name, array in of_worst.items() if name != "kind"}}
    if seen.codes is not None and len(seen.codes) and np.isfinite(seen.codes).all():
        points, share = first_two_components(seen.codes.reshape(len(seen.codes), -1))
        arrays |= {"points": points.astype(np.float32), "share": share}
        if seen.labels is not None:
            arrays |= {"labels": seen.labels, "label_names": np.array(seen.label_names, np.str_)}
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)


def _views(seen: Look, chosen: np.ndarray, errors: np.ndarray) -> dict:
    kind, original = view(seen.originals[chosen])
    return {"kind": np.str_(kind), "number": chosen, "original": original,
            "reconstruction": view(seen.reconstructions[chosen].reshape(seen.originals[chosen].shape))[1],
            "error": errors[chosen]}


def view(samples: np.ndarray) -> tuple[str, np.ndarray]:
    """How samples are shown, and so much of them as is: (samples, height, width[, 3]) of pictures, (samples, channels,
    points) of lines, (samples, 3, height, width) of the middle slices of volumes, along each axis."""
    shape = samples.shape[1:]
    is_signal = len(shape) == 2 and shape[1] <= 12 and shape[0] >= 4 * shape[1]
    picture = picture_shape(shape)
    if picture and not is_signal:
        pictures = samples.reshape(len(samples), *picture)
        pictures = pictures[..., 0] if pictures.ndim == 4 and pictures.shape[3] == 1 else pictures
        return "picture", _coarser(pictures, _SIDE_IN_COLOUR if pictures.ndim == 4 else _SIDE)
    if len(shape) in (3, 4) and min(shape[:3]) > 1 and not (len(shape) == 3 and shape[2] <= 16 < shape[0]):
        volumes = samples if len(shape) == 3 else samples[..., 0]
        return "slices", np.stack([_square(np.take(volumes, volumes.shape[axis] // 2, axis)) for axis in (1, 2, 3)], axis=1)
    if len(shape) == 3:  # a picture of many channels: the first of them
        return "picture", _coarser(samples[..., 0], _SIDE)
    lines = np.moveaxis(samples, -1, 1)[:, :3] if is_signal else samples.reshape(len(samples), 1, -1)
    return "lines", lines[:, :, :: -(-lines.shape[2] // _LONG)]


def _coarser(pictures: np.ndarray, side: int) -> np.ndarray:
    """Every so many pixels, so that no side is longer."""
    every = max(1, -(-max(pictures.shape[1:3]) // side))
    return np.ascontiguousarray(pictures[:, ::every, ::every])


def _square(pictures: np.ndarray) -> np.ndarray:
    """Coarser, and filled up to 48 by 48 with what is missing, so that slices along different axes go together."""
    small = _coarser(pictures, 48)
    filled = np.full((len(small), 48, 48), np.nan, np.float32)
    filled[:, : small.shape[1], : small.shape[2]] = small
    return filled


def _moments(values: np.ndarray) -> np.ndarray:
    present = values[np.isfinite(values)].astype(np.float64)
    return np.array([present.mean(), present.std(), present.min(), present.max()] if present.size else [np.nan] * 4)
