"""Confusion matrices side by side."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hvd_ae.runs.plots import save_figure

_MOST_NUMBERED = 12  # classes: more numbers in a matrix could not be read


def plot_confusion(matrices: dict[str, np.ndarray], classes: list[int], path: Path) -> None:
    """What each classifier says (columns) of the samples of each label (rows), in per cent of the row.

    Args:
        matrices: by what stands above it, (classes, classes) counts.
        classes: the labels.
    """
    figure = Figure(figsize=(11, 11), dpi=110, layout="constrained")
    for axes, (title, counts) in zip(figure.subplots(2, 2).ravel(), matrices.items()):
        percent = 100.0 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        image = axes.imshow(np.sqrt(percent), cmap="Blues", vmin=0.0, vmax=10.0)  # roots, so that rare mistakes are seen
        axes.set(title=title, xlabel="said", ylabel="label")
        if len(classes) <= _MOST_NUMBERED:
            axes.set_xticks(range(len(classes)), classes)
            axes.set_yticks(range(len(classes)), classes)
            for (row, column), value in np.ndenumerate(percent):
                if round(value) > 0:
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                              color="white" if value > 40.0 else "black")
    bar = figure.colorbar(image, ax=figure.axes, shrink=0.5, label="per cent of the label's samples")
    bar.set_ticks(np.sqrt([1, 5, 20, 50, 100]), labels=["1", "5", "20", "50", "100"])
    save_figure(figure, path)
