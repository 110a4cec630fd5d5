"""Several runs beside each other: one table, what was set differently, and their curves over one another."""

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from markupsafe import Markup

from hvd_ae.runs.page.charts import Series, line_chart
from hvd_ae.runs.page.read import Run
from hvd_ae.runs.page.sections import loss_unit
from hvd_ae.runs.page.ticks import as_bytes, as_number
from hvd_ae.runs.progress import as_time

_NOT_COMPARED = ("run_dir", "resume", "track", "quiet", "log_level")
HEADER = ("run", "ranks", "epochs", "steps", "val_loss", "best val_loss", "val_mse", "samples/s", "training", "communicating",
          "sent per rank", "in sync")


def names(runs: Sequence[Run]) -> list[str]:
    """Of folders; as much of the path as tells them apart."""
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.path) for run in runs]


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """A line a run, a cell for each of `HEADER`."""
    return [[name, *_figures(run)] for name, run in zip(names(runs), runs)]


def table(runs: Sequence[Run], folder: Path) -> list[tuple[str, list[str]]]:
    """Each line with the address of the run's own page, as seen from a folder."""
    return [(os.path.relpath(run.path / "report.html", folder) if (run.path / "report.html").exists() else "", cells)
            for run, cells in zip(runs, rows(runs))]


def _figures(run: Run) -> list[str]:
    records, last = run.records, run.last
    seconds = sum(record.get("seconds") or 0 for record in records)
    rates = [record["samples_per_second"] for record in records if record.get("samples_per_second")]
    losses = [record["val_loss"] for record in records if record.get("val_loss") is not None]
    communication = sum(record.get("communication_seconds") or 0 for record in records)
    sent = sum(record.get("bytes_sent_per_rank") or 0 for record in records)
    in_sync = {True: "yes", False: "no"}.get(last.get("in_sync"), "–")
    ranks = run.about.get("ranks") or (run.summary or {}).get("ranks")
    return [str(ranks or "–"), str(last.get("epoch", "–")), f"{last['step']:,}" if last else "–",
            as_number(last.get("val_loss"), 4), as_number(min(losses, default=None), 4), as_number(last.get("val_mse"), 4),
            as_number(float(np.median(rates))) if rates else "–", as_time(seconds),
            f"{communication / seconds:.1%}" if seconds else "–", as_bytes(sent), in_sync]


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The settings that are not the same in all, and what each run had."""
    settings = dict.fromkeys(name for run in runs for name in run.config)
    values = {name: [str(run.config.get(name, "–")) for run in runs] for name in settings if name not in _NOT_COMPARED}
    return [(name, each) for name, each in values.items() if len(set(each)) > 1]


def curves(runs: Sequence[Run]) -> list[Markup]:
    """Validation losses over epochs, over seconds and over samples."""
    across = {"epochs": lambda run: [record["epoch"] for record in run.records],
              "seconds of training": lambda run: list(accumulate(record.get("seconds") or 0 for record in run.records)),
              "samples trained on": lambda run: [record.get("samples", 0) for record in run.records]}
    units, charts = {loss_unit(run.config) for run in runs}, []
    unit = units.pop() if len(units) == 1 else "validation loss (each run's own)"
    for label, xs in across.items():
        series = [Series(name, xs(run), [record.get("val_loss") for record in run.records], number, number % 20 >= 10)
                  for number, (name, run) in enumerate(zip(names(runs), runs))]
        charts.append(line_chart(f"Validation loss over {label}", series, label, unit, is_log=True,
                                 whole=label == "epochs", height=300))
    return [chart for chart in charts if chart]
