"""Every averaging strategy from the same start, on the same partitions, for as many samples, in one job."""

import dataclasses
import gc
import math
from pathlib import Path

import keras

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.commands.compare.table import append_record, plot_comparison, read_records, table
from hvd_ae.data.source import Splits
from hvd_ae.data.statistics import Statistics
from hvd_ae.errors import OutOfSync, Refused
from hvd_ae.runs.files import write_atomically
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.averaging import STRATEGIES, VARIANTS
from hvd_ae.settings.commands import CompareSettings
from hvd_ae.settings.train import TrainSettings, strategy_defaults
from hvd_ae.training.samples import load_on_all
from hvd_ae.training.session import Session, trainers


def compare(settings: CompareSettings) -> None:
    """Train every strategy, and write records, table and picture (every rank calls it).

    A strategy that is refused, or whose ranks do not stay in sync, is a record that says so.

    Raises:
        Refused: an unknown strategy, or settings that no strategy can be trained with.
    """
    runs = _plan(settings)
    comm = start(settings.collectives)
    is_root, folder = comm.world.is_root, Path(settings.run_dir)
    run_on_all(comm, lambda: _make_folder(folder) if is_root else None)
    source = load_on_all(runs[0], comm)
    statistics = None
    for number, run in enumerate(runs):
        record, statistics = _train(run, comm, source, settings.steps, statistics)
        if is_root:
            append_record(folder, record)
            outcome = record["failed"] or f"val_mse {record['val_mse']:.5f}"
            print(f"{number + 1}/{len(runs)}  {record['strategy']} {record['sync_every'] or ''} seed {record['seed']}: "
                  f"{outcome}", flush=True)
    if not is_root:
        return
    records = read_records(folder)
    text = table(records)
    write_atomically(folder / "compare.md", text)
    plot_comparison(records, folder / "compare.png")
    print(f"\n{text}\nrecords, table and picture are in {folder}", flush=True)


def _plan(settings: CompareSettings) -> list[TrainSettings]:
    """The trainings, one after the other; seeds outermost, so that a slow hour of the machine meets all strategies alike."""
    strategies = [strategy.strip() for strategy in settings.averaging.split(",") if strategy.strip()]
    try:
        periods = [int(period) for period in settings.sync_every.split(",")]
    except ValueError:
        raise Refused(f"sync_every={settings.sync_every!r} must be whole numbers with commas between them: 4,16,64") from None
    common = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)
              if field.name not in ("averaging", "sync_every", "seeds", "steps", "run_dir")}
    return [
        TrainSettings(**common, **_strategy(name), sync_every=period, seed=seed).resolved()
        for seed in range(settings.seeds) for name in strategies
        for period in (periods if "sync_every" in strategy_defaults(_strategy(name)["averaging"]) else [None])
    ]


def _strategy(name: str) -> dict[str, str]:
    """The settings of "strategy" or "strategy:variant"."""
    strategy, _, variant = name.partition(":")
    if strategy not in STRATEGIES or (variant and strategy not in VARIANTS):
        raise Refused(f"averaging={name!r} is not known: use {', '.join(STRATEGIES)}, and variants of {', '.join(VARIANTS)} "
                      "only")
    return {"averaging": strategy, **({VARIANTS[strategy]: variant} if variant else {})}


def _name(run: TrainSettings) -> str:
    variant = getattr(run, VARIANTS.get(run.averaging, "averaging"))
    default = strategy_defaults(run.averaging).get(VARIANTS.get(run.averaging, ""), run.averaging)
    return run.averaging if variant == default else f"{run.averaging}:{variant}"


def _train(run: TrainSettings, comm: Communicator, source: Splits, steps: int | None,
           statistics: Statistics | None) -> tuple[dict, Statistics | None]:
    """One training: its record, and statistics of the data, which are the same for all and measured once."""
    world = comm.world
    about = {"strategy": _name(run), "sync_every": run.sync_every, "seed": run.seed, "ranks": world.size,
             "collectives": comm.name, "data": run.data, "model": run.model, "partition": run.partition,
             "failed": None}
    if steps is not None:  # as many samples for a strategy with fewer ranks that train
        run = dataclasses.replace(run, epochs=10**6, steps=math.ceil(steps * world.size / trainers(run, world).size))
    try:
        with Session(run, comm, source, statistics=statistics) as session:
            statistics = session.statistics
            reports = session.run()
    except (Refused, OutOfSync) as error:
        if not error.raised_on_all_ranks:
            raise
        return {**about, "failed": str(error)}, statistics
    keras.backend.clear_session()
    gc.collect()
    seconds = sum(report.seconds for report in reports)
    timed = sum(report.timed_seconds for report in reports)
    last = reports[-1]
    if not math.isfinite(last.val_mse):
        why = f"diverged: val_mse is {last.val_mse} after {last.step} steps; try a lower learning rate"
        return {**about, "failed": why}, statistics
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
        "staleness": last.of_strategy.get("staleness_mean"),
        "in_sync": last.in_sync,
        "curve": [[report.timed_seconds, report.bytes_sent_per_rank, report.val_mse] for report in reports],
    }, statistics


def _make_folder(folder: Path) -> None:
    if (folder / "compare.jsonl").exists():
        raise Refused(f"run_dir={str(folder)!r} holds a comparison already: use another --run-dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"run_dir={str(folder)!r} cannot be written ({error.strerror}): use another --run-dir") from None
