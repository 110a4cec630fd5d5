"""Samples beside their reconstructions: pictures as PNG within the page, lines as inline SVG."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from hvd_ae.runs.page.ticks import as_number

_BYTES = 200_000  # of a picture that is taken as it is


def pairs(samples: dict, prefix: str = "") -> list[dict]:
    """Number, error, and a drawing or two of each sample that `samples.npz` shows; empty where it shows none.

    Args:
        prefix: "worst_", for those.
    """
    names = [f"{prefix}{name}" for name in ("number", "error", "original", "reconstruction")]
    if any(name not in samples for name in ("kind", *names)):
        return []
    numbers, errors, originals, reconstructions = (samples[name] for name in names)
    kind, low, high = str(samples["kind"]), *_range(samples["original"])
    drawn = []
    for number, error, original, reconstruction in zip(numbers, errors, originals, reconstructions):
        if kind == "lines":
            shown = [lines(original, reconstruction, f"sample {number}, original and reconstruction")]
        else:
            shown = [_picture(each, low, high, f"sample {number}, {what}")
                     for what, each in (("original", original), ("reconstruction", reconstruction))]
        drawn.append({"number": int(number), "error": as_number(float(error)), "drawn": shown, "is_lines": kind == "lines",
                      "is_wide": kind == "slices"})
    return drawn


def of_file(path: Path) -> str:
    """A small PNG as an address; empty where there is none, or one so large that the page would be."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    is_small = data.startswith(b"\x89PNG") and len(data) < _BYTES
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if is_small else ""


def _picture(values: np.ndarray, low: float, high: float, text: str) -> Markup:
    """One picture, or the slices of a volume beside each other."""
    if values.ndim == 3 and values.shape[2] != 3:
        return png(np.concatenate(list(values), axis=1), low, high, f"{text}: middle slices along each of the three axes")
    return png(values, low, high, text)


def png(values: np.ndarray, low: float, high: float, text: str) -> Markup:
    """A grey or coloured picture, (height, width) or (height, width, 3); what is missing is transparent."""
    shades = np.clip((np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / (high - low) * 255, 0, 255)
    shades, missing = shades.round().astype(np.uint8), np.isnan(values)
    if missing.any():
        alpha = np.where(missing if values.ndim == 2 else missing.any(axis=2), 0, 255).astype(np.uint8)
        shades = np.dstack([shades, alpha])
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG")
    height, width = values.shape[:2]
    return Markup('<img alt="{}" width="{}" height="{}" src="data:image/png;base64,{}">').format(
        text, width, height, base64.b64encode(file.getvalue()).decode())


def lines(original: np.ndarray, reconstruction: np.ndarray, text: str, width: int = 260, height: int = 80) -> Markup:
    """(channels, points) each: the original drawn, the reconstruction dashed over it, a colour a channel."""
    both = np.concatenate([original, reconstruction])
    low, high = _range(both)
    parts = []
    for values, style in ((original, ""), (reconstruction, " dashed")):
        for channel, row in enumerate(values):
            across = np.linspace(3, width - 3, len(row)) if len(row) > 1 else np.array([width / 2])
            path = _path(across, height - 4 - (row - low) / (high - low) * (height - 8))
            colour = 2 * channel + bool(style)
            parts.append(f'<path class="curve c{colour}{style}" d="{path}"/>')
    said = f"{text}; values from {as_number(low)} to {as_number(high)}"
    return Markup('<svg class="lines" role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg>').format(
        width, height, said, Markup("".join(parts)))


def _path(across: np.ndarray, up: np.ndarray) -> str:
    """With a gap where a value is missing."""
    path, letter = [], "M"
    for x, y in zip(across, up):
        if np.isfinite(y):
            path.append(f"{letter}{x:.1f} {y:.1f}")
        letter = "L" if np.isfinite(y) else "M"
    return "".join(path)


def _range(values: Sequence) -> tuple[float, float]:
    present = np.asarray(values)[np.isfinite(values)]
    low, high = (float(present.min()), float(present.max())) if present.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)
