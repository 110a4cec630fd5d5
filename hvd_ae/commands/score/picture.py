"""`score.png`: how the scores lie, and where the threshold is."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.score.threshold import Threshold
from hvd_ae.runs.plots import log_ticks, save_figure

_BARS, _SPAN = 80, 1e6  # bars, and what the highest score is at most over the lowest that has a bar of its own


@dataclass(frozen=True)
class Bars:
    """edges: (bars + 1,); counts: (2, bars), of samples that are not odd and that are, or (1, bars) without labels."""

    edges: np.ndarray
    counts: np.ndarray
    has_labels: bool


def histogram(scores: np.ndarray, is_odd: np.ndarray | None, comm: Communicator) -> Bars:
    """Of all ranks' scores, in bars of equal width, on a logarithmic scale where no score is below 0 (every rank calls it)."""
    positive = scores[scores > 0].astype(np.float64)
    low, high = positive.min(initial=np.inf), scores.max(initial=-np.inf)
    low, high = comm.minimum(np.array([low])).numpy()[0], comm.maximum(np.array([high], np.float64)).numpy()[0]
    lowest = comm.minimum(np.array([scores.min(initial=np.inf)], np.float64)).numpy()[0]
    if lowest < 0:
        edges = np.linspace(lowest, max(high, lowest + 1e-6 * abs(lowest)), _BARS + 1)
    else:
        high = high if high > 0 else 1.0
        edges = np.geomspace(min(max(low, high / _SPAN), high / 1.001), high, _BARS + 1)
    groups = [scores] if is_odd is None else [scores[~is_odd], scores[is_odd]]
    counts = np.stack([np.histogram(np.clip(group.astype(np.float64), edges[0], edges[-1]), edges)[0] for group in groups])
    return Bars(edges, comm.sum(counts.astype(np.int64).ravel()).numpy().reshape(counts.shape), is_odd is not None)


def draw_scores(bars: Bars, threshold: Threshold, path: Path) -> None:
    """Write the picture, whole or not at all."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    labels = ("normal by label", "odd by label") if bars.has_labels else ("samples",)
    for counts, label, colour in zip(bars.counts, labels, ("tab:blue", "tab:orange")):
        axes.stairs(counts, bars.edges, fill=True, alpha=0.5, color=colour, label=label)
        axes.stairs(counts, bars.edges, color=colour, linewidth=1)
    of = threshold.of if len(threshold.of) <= 40 else f"...{threshold.of[-37:]}"
    axes.axvline(threshold.threshold, color="black", linestyle="--", linewidth=1.2,
                 label=f"threshold {threshold.threshold:.4g}, {threshold.quantile:g} quantile of {of}")
    scale = "log" if bars.edges[0] > 0 else "linear"
    axes.set(xscale=scale, yscale="symlog", xlabel=f"score ({threshold.score})", ylabel="samples in a bar")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    if scale == "log":
        log_ticks(axes.xaxis)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    save_figure(figure, path)
