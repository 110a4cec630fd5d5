"""A comparison of averaging strategies as records, as a table and as a picture, made from the records alone."""

import json
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hvd_ae.runs.files import append_line
from hvd_ae.runs.markdown import markdown_table
from hvd_ae.runs.plots import CURVES, log_ticks, save_figure

_HEADER = ("strategy", "H", "val_mse", "best val_mse", "seconds", "samples/s", "MB sent per rank", "communicating", "drift",
           "staleness")


def append_record(folder: Path, record: dict) -> None:
    append_line(folder / "compare.jsonl", json.dumps(record))


def read_records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "compare.jsonl").read_text(encoding="utf-8").splitlines()]


def group(records: list[dict]) -> dict[tuple[str, int | None], list[dict]]:
    """Records of each strategy and period, over the seeds, in the order in which they were first trained."""
    groups: dict[tuple[str, int | None], list[dict]] = {}
    for record in records:
        groups.setdefault((record["strategy"], record["sync_every"]), []).append(record)
    return groups


def table(records: list[dict]) -> str:
    """Markdown, a line a strategy and period: medians over seeds, and behind a loss half the range that it spans."""
    lines = []
    for (strategy, period), seeds in group(records).items():
        failed = [record["failed"] for record in seeds if record["failed"]]
        cells = [f"failed: {failed[0]}"] + [""] * (len(_HEADER) - 3) if failed else _cells(seeds)
        lines.append([f"`{strategy}`", period or "", *cells])
    return markdown_table(_HEADER, lines) + "\n"


def _cells(seeds: list[dict]) -> list[str]:
    def median(name: str, form: str, factor: float = 1.0) -> str:
        values = [record[name] for record in seeds if record[name] is not None]
        return format(np.median(values) * factor, form) if values else ""

    def loss(name: str) -> str:
        values = [record[name] for record in seeds]
        spread = f" ± {(max(values) - min(values)) / 2:.5f}" if len(values) > 1 else ""
        return f"{np.median(values):.5f}{spread}"

    return [loss("val_mse"), loss("best_val_mse"), median("seconds", ".1f"), median("samples_per_second", ",.0f"),
            median("bytes_sent_per_rank", ",.1f", 1e-6), median("communication_share", ".1%"), median("drift", ".3g"),
            median("staleness", ".2f")]


def pareto_front(points: list[tuple[float, float]]) -> list[int]:
    """The points that no other beats in both numbers, small being good, ordered by the first number."""
    order = sorted(range(len(points)), key=lambda position: points[position])
    front, lowest = [], np.inf
    for position in order:
        if points[position][1] < lowest:
            lowest = points[position][1]
            front.append(position)
    return front


def plot_comparison(records: list[dict], path: Path) -> None:
    """Validation error against seconds, and against bytes, on logarithmic axes, the Pareto fronts of the ends marked."""
    good = {key: seeds[0] for key, seeds in group([record for record in records if not record["failed"]]).items()}
    figure = Figure(figsize=(13, 6), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    _draw(axes[0], good, 0, 1.0, "seconds of training (tracing left out)")
    _draw(axes[1], good, 1, 1e-6, "megabytes sent per rank")
    axes[0].set_ylabel("validation MSE (data units, squared)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw(axes, good: dict, column: int, factor: float, label: str) -> None:
    """Each strategy's curve over one column of it, summed up; strategies that never move from 0 there are left out."""
    ends = []
    for ((strategy, period), record), style in zip(good.items(), cycle(CURVES)):
        curve = np.array(record["curve"], float)
        across = np.cumsum(curve[:, column]) * factor
        shown = across > 0
        name = strategy if period is None else f"{strategy}, H={period}"
        axes.plot(across[shown], curve[shown, 2], **style, label=name, linewidth=1.2, alpha=0.8)
        if shown.any():
            ends.append((float(across[-1]), float(curve[-1, 2])))
            axes.plot(*ends[-1], "o", color=style["color"], markersize=5)
    front = pareto_front(ends)
    axes.plot(*zip(*(ends[position] for position in front)), "k-", linewidth=0.8, zorder=0)
    axes.plot(*zip(*(ends[position] for position in front)), "ko", markersize=11, fillstyle="none",
              label="Pareto front of the ends")
    axes.set(xscale="log", yscale="log", xlabel=label)
    for axis in (axes.xaxis, axes.yaxis):
        log_ticks(axis)
    axes.grid(alpha=0.3, which="both")
