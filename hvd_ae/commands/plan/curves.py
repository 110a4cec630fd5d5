"""The curves of a plan, drawn without a display."""

from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from hvd_ae.commands.plan.model import Prediction
from hvd_ae.runs.plots import CURVES, save_figure


def draw(curves: dict[tuple[str, int | None], list[Prediction]], measured: dict, path: Path) -> None:
    """Efficiency, and share of the time communicating and waiting, against ranks; one curve for each strategy and H."""
    figure = Figure(figsize=(11, 4.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    for ((strategy, every), rows), style in zip(curves.items(), cycle(CURVES)):
        name = f"{strategy} H={every}" if every else strategy
        ranks = [row.ranks for row in rows]
        left.plot(ranks, [100 * row.efficiency for row in rows], **style, label=name)
        right.plot(ranks, [100 * row.communication_share for row in rows], **style, label=name)
    left.axvline(measured.get("ranks", 1), color="gray", linewidth=0.8, linestyle=":")
    left.annotate("measured here", (measured.get("ranks", 1), 2), xytext=(4, 0), textcoords="offset points", fontsize=8,
                  color="gray", rotation=90, va="bottom")
    left.set(xscale="log", xlabel="ranks", ylabel="efficiency, %", ylim=(0, 103),
             title=f"{measured.get('model')}, {measured['batch_size']} samples a rank and step: predicted")
    right.set(xscale="log", xlabel="ranks", ylabel="communicating and waiting, % of the time", ylim=(-3, 103))
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
    figure.legend(*right.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    save_figure(figure, path)
