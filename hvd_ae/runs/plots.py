"""The pictures of a run, drawn without a display."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cycler import cycler
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from hvd_ae.runs.files import replacing

_DPI = 120
CURVES = cycler(linestyle=["-", "--", ":"]) * cycler(color=[f"C{number}" for number in range(10)])  # thirty that differ


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all; needs no display."""
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def log_ticks(axis: Axis) -> None:
    """A logarithmic axis with as many ticks as are needed, written as numbers: 20 and 50, not 2 x 10^1 over its neighbour."""
    low, high = axis.get_view_interval()
    within_decade = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5) if high < 300 * low else (1,)
    axis.set_major_locator(LogLocator(subs=within_decade))
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_minor_formatter(NullFormatter())


def picture_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """How a sample of this shape can be shown: (height, width) or (height, width, channels); None if it is no picture."""
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0] and shape[0] > 1:
        return (math.isqrt(shape[0]),) * 2
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
        return shape
    return None


def plot_loss(records: list[dict], unit: str, path: Path) -> None:
    """Training and validation loss, of this unit, against epochs, on a logarithmic scale."""
    figure = Figure(figsize=(6, 4), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    epochs = [record["epoch"] for record in records]
    marker = "o" if len(records) < 30 else None
    axes.plot(epochs, [record["train_loss"] for record in records], label="training (mean over the epoch)", marker=marker)
    axes.plot(epochs, [record["val_loss"] for record in records], label="validation (after the epoch)", marker=marker)
    axes.set(xlabel="epoch", ylabel=unit, yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    log_ticks(axes.yaxis)
    axes.grid(alpha=0.3, which="both")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    save_figure(figure, path)


def plot_reconstructions(shown: Mapping[str, np.ndarray], path: Path) -> None:
    """What belongs to the same samples in rows above each other, on the scale of the first.

    Args:
        shown: by label, (samples, height, width) or (samples, height, width, channels).
    """
    first = next(iter(shown.values()))
    lowest, highest = np.nanmin(first), np.nanmax(first)  # values may be missing
    rows = [mosaic((images - lowest) / max(highest - lowest, 1e-30)) for images in shown.values()]
    # one image, since axes of their own for each sample would take most of the time at the end of a short run
    figure = Figure(figsize=(0.3 + 0.8 * len(first), 0.8 * len(first) * sum(map(len, rows)) / rows[0].shape[1]), dpi=_DPI,
                    layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.concatenate(rows), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set(xticks=[], yticks=(np.arange(len(rows)) + 0.5) * len(rows[0]))
    axes.set_yticklabels(shown, fontsize=6, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def mosaic(images: np.ndarray) -> np.ndarray:
    """Images (samples, height, width[, 1 or 3]), 0 to 1, beside each other on white: (height + gap, all widths[, 3])."""
    if images.shape[-1] == 1 and images.ndim == 4:
        images = images[..., 0]
    gap = max(1, images.shape[2] // 12)
    border = [(0, 0), (0, gap), (0, gap), *[(0, 0)] * (images.ndim - 3)]
    padded = np.pad(np.clip(images, 0.0, 1.0), border, constant_values=1.0)
    return np.concatenate(list(padded), axis=1)


def plot_profiles(shown: Mapping[str, np.ndarray], path: Path) -> None:
    """The same for samples that are no pictures: features as lines over each other.

    Args:
        shown: by label, (samples, features).
    """
    samples = len(next(iter(shown.values())))
    figure = Figure(figsize=(8, 1.4 * samples), dpi=_DPI, layout="constrained")
    for number, axes in enumerate(figure.subplots(samples, squeeze=False)[:, 0]):
        for label, profiles in shown.items():
            axes.plot(profiles[number], linewidth=0.8, label=label)
        axes.set_yticks([])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside upper center", ncols=2)  # where it hides no curve
    figure.axes[-1].set_xlabel("number of the feature")
    save_figure(figure, path)


def first_two_components(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each code's first two principal components, (samples, 2), and their shares of the variance; zeros where there are none.

    Of the smaller of two matrices: so many codes of so many numbers take less time than scikit-learn does to be imported.
    """
    centred = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    is_wide = centred.shape[1] > centred.shape[0]
    squares, vectors = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)  # the largest last
    squares, vectors = np.maximum(squares[:-3:-1], 0.0), vectors[:, :-3:-1]
    points = vectors * np.sqrt(squares) if is_wide else centred @ vectors
    total = np.square(centred).sum()
    missing = 2 - len(squares)
    return (np.pad(points, ((0, 0), (0, missing))),
            np.pad(squares / total if total > 0 else np.zeros_like(squares), (0, missing)))


def plot_latent(codes: np.ndarray, labels: np.ndarray | None, path: Path) -> None:
    """The codes' first two principal components, coloured by label where there are labels.

    Args:
        codes: (samples, widths of the code).
        labels: (samples,) or None.
    """
    points, share = first_two_components(codes.reshape(len(codes), -1))
    figure = Figure(figsize=(6, 5), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    kinds = [] if labels is None else np.unique(labels)
    if 0 < len(kinds) <= 20:
        for kind in kinds:
            chosen = points[labels == kind]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=5, alpha=0.6, label=str(kind))
        axes.legend(frameon=False, markerscale=3, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        colours = {} if labels is None else {"c": labels, "cmap": "viridis"}
        drawn = axes.scatter(points[:, 0], points[:, 1], s=5, alpha=0.6, **colours)
        if labels is not None:
            figure.colorbar(drawn, label="label")
    axes.set(xlabel=f"first principal component ({share[0]:.0%} of the variance)",
             ylabel=f"second ({share[1]:.0%})", title="codes of the validation samples")
    save_figure(figure, path)
