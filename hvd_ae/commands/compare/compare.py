"""Every way of averaging from the same start, on the same partitions, for as many samples, in one job."""

import dataclasses
import gc
import math
from pathlib import Path

import keras

from hvd_ae.averaging import STRATEGIES
from hvd_ae.averaging.closing import closing
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.commands.compare.table import append_row, plot_comparison, read_rows, table
from hvd_ae.config import VARIANTS, WAY_SETTINGS, CompareSettings, TrainSettings
from hvd_ae.data.sources import Source
from hvd_ae.errors import OutOfSync, Refused
from hvd_ae.runs.files import write_atomically
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.loop import Loop
from hvd_ae.training.session import load_on_all, prepare, trainers


def compare(settings: CompareSettings) -> list[dict]:
    """Train every way, and write rows, table and picture (every rank calls it; the rows are the root's).

    A way that is refused, or whose ranks do not stay in step, is a row that says so.

    Raises:
        Refused: an unknown way, or settings that no way can be trained with.
    """
    runs = _plan(settings)
    comm = start(settings.collectives)
    is_root, folder = comm.world.is_root, Path(settings.run_dir)
    run_on_all(comm, lambda: _make_folder(folder) if is_root else None)
    source = load_on_all(runs[0], comm)
    for number, run in enumerate(runs):
        row = _train(run, comm, source, settings.steps)
        if is_root:
            append_row(folder, row)
            outcome = row["failed"] or f"val_mse {row['val_mse']:.5f}"
            print(f"{number + 1}/{len(runs)}  {row['way']} {row['sync_every'] or ''} seed {row['seed']}: {outcome}",
                  flush=True)
    if not is_root:
        return []
    rows = read_rows(folder)
    text = table(rows)
    write_atomically(folder / "compare.md", text)
    plot_comparison(rows, folder / "compare.png")
    print(f"\n{text}\nrows, table and picture are in {folder}", flush=True)
    return rows


def _plan(settings: CompareSettings) -> list[TrainSettings]:
    """The trainings, one after the other; seeds outermost, so that a slow hour of the machine meets all ways alike."""
    strategies = [strategy.strip() for strategy in settings.strategies.split(",") if strategy.strip()]
    try:
        periods = [int(period) for period in settings.sync_every.split(",")]
    except ValueError:
        raise Refused(f"sync_every={settings.sync_every!r} must be whole numbers with commas between them: 4,16,64") from None
    common = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)
              if field.name not in ("ways", "sync_every", "seeds", "steps", "run_dir")}
    return [
        TrainSettings(**common, **_way(name), sync_every=period, seed=seed).resolved()
        for seed in range(settings.seeds) for name in strategies
        for period in (periods if "sync_every" in WAY_SETTINGS[_way(name)["averaging"]] else [None])
    ]


def _way(name: str) -> dict[str, str]:
    """The settings of "way" or "way:variant"."""
    strategy, _, variant = name.partition(":")
    if strategy not in STRATEGIES or (variant and strategy not in VARIANTS):
        raise Refused(f"ways={name!r} is not known: use {', '.join(STRATEGIES)}, and variants of {', '.join(VARIANTS)} only")
    return {"averaging": strategy, **({VARIANTS[strategy]: variant} if variant else {})}


def _name(run: TrainSettings) -> str:
    variant = getattr(run, VARIANTS.get(run.averaging, "averaging"))
    default = WAY_SETTINGS[run.averaging].get(VARIANTS.get(run.averaging, ""), run.averaging)
    return run.averaging if variant == default else f"{run.averaging}:{variant}"


def _train(run: TrainSettings, comm: Communicator, source: Source, steps: int | None) -> dict:
    """One training; its row."""
    world = comm.world
    about = {"way": _name(run), "sync_every": run.sync_every, "seed": run.seed, "ranks": world.size,
             "collectives": comm.name, "data": run.data, "model": run.model, "partition": run.partition,
             "failed": None}
    if steps is not None:  # as many samples for a way with fewer ranks that train
        run = dataclasses.replace(run, epochs=10**6, steps=math.ceil(steps * world.size / trainers(run, world).size))
    try:
        session = prepare(run, comm, source)
        with closing(session.strategy):
            reports = [progress.report for progress in Loop(session, Cursor()).run() if progress.report]
    except (Refused, OutOfSync) as error:
        if not error.raised_on_all_ranks:
            raise
        return {**about, "failed": str(error)}
    keras.backend.clear_session()
    gc.collect()
    seconds = sum(report.seconds for report in reports)
    timed = sum(report.timed_seconds for report in reports)
    last = reports[-1]
    if not math.isfinite(last.val_mse):
        return {**about, "failed": f"diverged: val_mse is {last.val_mse} after {last.step} steps; try a lower learning rate"}
    return {
        **about,
        "val_mse": last.val_mse,
        "best_val_mse": min(report.val_mse for report in reports),
        "seconds": seconds,
        "samples": last.samples,
        "samples_per_second": sum(report.timed_samples for report in reports) / timed if timed else None,
        "bytes_sent_per_rank": sum(report.bytes_sent_per_rank for report in reports),
        "communication_share": sum(report.communication_seconds for report in reports) / seconds,
        "drift": last.drift,
        "staleness": last.measurements.get("staleness_mean"),
        "in_sync": last.in_sync,
        "curve": [[report.timed_seconds, report.bytes_sent_per_rank, report.val_mse] for report in reports],
    }


def _make_folder(folder: Path) -> None:
    if (folder / "compare.jsonl").exists():
        raise Refused(f"run_dir={str(folder)!r} holds a comparison already: use another --run-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"run_dir={str(folder)!r} cannot be written ({error.strerror}): use another --run-dir") from None
