"""Training as a whole: from settings to a finished run folder. The command line does no more than call this."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.averaging.closing import closing
from hvd_ae.averaging.proof import checksum
from hvd_ae.collectives.agree import broadcast_text, together
from hvd_ae.collectives.engine import Engine
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.errors import Stopped
from hvd_ae.models.optimizers import scaled_rate
from hvd_ae.runs.folder import RunFolder, as_json, default_run_dir
from hvd_ae.runs.outcome import draw_pictures, save_models, summarise
from hvd_ae.runs.progress import ProgressDisplay
from hvd_ae.training.checkpoint import save
from hvd_ae.training.loop import Loop
from hvd_ae.training.position import Position
from hvd_ae.training.preemption import answered, listening, stop_requested
from hvd_ae.training.prepare import Prepared, prepare
from hvd_ae.training.resume import Resumed, restore_newest
from hvd_ae.world import World


@dataclass(frozen=True)
class Result:
    """What a run came to; `summary` is what `summary.json` holds, on every rank."""

    world: World
    run_dir: Path
    summary: dict


def train(settings: TrainSettings, collectives: Engine | None = None) -> Result:
    """Train as `settings` say; every rank of the job calls it.

    Args:
        collectives: what `start` returned, where a script has called it already.

    Raises:
        Refused: on every rank, when settings, data, model or run folder cannot be used.
        OutOfStep: on every rank, when ranks that should hold the same parameters do not.
        Stopped: on every rank, when SIGTERM, SIGUSR1 or SIGUSR2 came to any, and the checkpoint is written.
        NotWritten: on every rank, when a checkpoint cannot be written.
    """
    settings = settings.effective()
    with listening():
        collectives = collectives or start(settings.collectives, settings.threads)
        run_dir = settings.run_dir or broadcast_text(collectives, default_run_dir(settings))
        settings = dataclasses.replace(settings, collectives=collectives.name, run_dir=run_dir)
        folder = RunFolder(run_dir)
        with collectives.watched(settings.stall_timeout, folder.stalled):
            return _train(settings, collectives, folder)


def _train(settings: TrainSettings, collectives: Engine, folder: RunFolder) -> Result:
    world = collectives.world
    prepared = prepare(settings, collectives)
    with closing(prepared.way):
        together(collectives, lambda: folder.create(settings) if world.is_root else None)
        position = _resume(prepared, folder) if settings.resume else Position()
        if world.is_root:
            folder.keep_metrics_until(position.step)
            announce(prepared)
        position = _run(prepared, position, folder)
    return Result(world, folder.path, _finish(prepared, position, folder))


def _resume(prepared: Prepared, folder: RunFolder) -> Position:
    resumed = restore_newest(prepared, folder.checkpoints)
    if prepared.collectives.world.is_root:
        for sentence in resumed.bad:
            print(f"passed over a bad checkpoint: {sentence}")
        print(_where(resumed, prepared), flush=True)
    return resumed.position


def _where(resumed: Resumed, prepared: Prepared) -> str:
    position, size = resumed.position, prepared.collectives.world.size
    if position == Position():
        return "no checkpoint yet: starting from nothing"
    others = f", which {resumed.ranks} ranks wrote and {size} go on from" if resumed.ranks != size else ""
    return f"going on from step {position.step}{others}"


def _run(prepared: Prepared, position: Position, folder: RunFolder) -> Position:
    """Train to the end, with a row of metrics an epoch and a checkpoint every so many.

    Raises:
        Stopped: after a signal, and a checkpoint.
    """
    settings, is_root = prepared.settings, prepared.collectives.world.is_root
    display = ProgressDisplay(settings.epochs)
    loop = Loop(prepared, position, lambda: stop_requested(prepared.collectives))
    saved = position.step if settings.resume else None
    for progress in loop.run():
        if progress.report is None:
            if is_root:
                display.show_steps(progress.position, progress.steps_per_epoch)
            continue
        if is_root:
            row = progress.report.row()
            folder.append_metrics(row)
            display.show_epoch(row)
        every = settings.checkpoint_every
        if loop.done or (every and progress.position.epoch % every == 0):
            save(prepared, progress.position, folder.checkpoints, settings.keep_checkpoints)
            saved = progress.position.step
    if loop.stopped:
        display.close()
        if saved != loop.position.step:
            save(prepared, loop.position, folder.checkpoints, settings.keep_checkpoints)
        answered()
        raise Stopped(f"stopped at step {loop.position.step} by {loop.stopped}, with a checkpoint in {folder.checkpoints}: "
                      "go on with --resume")
    return loop.position


def _finish(prepared: Prepared, position: Position, folder: RunFolder) -> dict:
    """Models, pictures and the summary, written by the root; the summary on every rank."""
    summary_text = ""
    if prepared.collectives.world.is_root:
        with prepared.collectives.busy("writing the models and pictures"):
            replica, settings = prepared.replica, prepared.settings
            rows = folder.read_metrics()
            parameters, buffers = prepared.way.result
            replica.release_slots()  # writing a model takes memory
            model = replica.flat.write(parameters.numpy(), buffers.numpy())
            encoder = save_models(model, folder.path)
            draw_pictures(model, encoder, prepared.source, rows, settings.loss, folder.path)
            summary = summarise(settings, prepared.collectives.world, replica.flat.layout.size, rows,
                                checksum(parameters), position)
            folder.write_summary(summary)
            summary_text = as_json(summary)
            print(f"model, pictures and figures are in {folder.path}", flush=True)
    return json.loads(broadcast_text(prepared.collectives, summary_text))


def announce(prepared: Prepared) -> None:
    """Say what is about to run: the effective global batch and learning rate above all."""
    s, world, train = prepared.settings, prepared.collectives.world, prepared.source.train
    trainers = prepared.trainers.size
    rate = scaled_rate(s.learning_rate, s.lr_scaling, trainers)
    nodes = f" on {world.nodes} nodes" if world.nodes > 1 else ""
    every = f" every {s.sync_every} steps" if s.sync_every else ""
    warm_up = f" after {s.warmup_epochs:g} epochs of warm-up" if s.warmup_epochs else ""
    print(f"{world.size} rank{'s' * (world.size > 1)}{nodes}, collectives: {s.collectives}\n"
          f"data: {s.data}, {train.count:,} training and {prepared.source.validation.count:,} validation samples of "
          f"shape {train.sample_shape}, partition {s.partition}\n"
          f"model: {s.model}, {prepared.replica.flat.layout.size:,} parameters; averaging: {s.averaging}{every}\n"
          f"global batch: {s.batch_size * trainers} ({trainers} x {s.batch_size}), {s.optimizer} at learning rate "
          f"{rate:.6g}{warm_up} (scaling {s.lr_scaling})", flush=True)
