"""Training as a whole: from settings to a finished run folder. The command line does no more than call this."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.averaging.closing import closing
from hvd_ae.averaging.proof import checksum
from hvd_ae.collectives.agree import broadcast_text, together, written_together
from hvd_ae.collectives.engine import Engine
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.errors import NotWritten, Stopped
from hvd_ae.models.optimizers import scaled_rate
from hvd_ae.runs.folder import RunFolder, as_json, make_default_folder
from hvd_ae.runs.outcome import draw_pictures, save_models, summarise
from hvd_ae.runs.progress import ProgressDisplay
from hvd_ae.training.checkpoint import save, set_aside
from hvd_ae.training.loop import Loop
from hvd_ae.training.position import Position
from hvd_ae.training.preemption import answered, listening, stop_requested
from hvd_ae.training.prepare import Prepared, prepare
from hvd_ae.training.resume import Resumed, restore_newest
from hvd_ae.training.saved import prove_saved
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
        NotWritten: on every rank, when a file of the run cannot be written, or another job has taken the folder over.
    """
    settings = settings.effective()
    with listening():
        collectives = collectives or start(settings.collectives, settings.threads)
        with _folder(settings, collectives) as folder:
            settings = dataclasses.replace(settings, collectives=collectives.name, run_dir=str(folder.path))
            with collectives.watched(settings.stall_timeout, folder.stalled):
                return _train(settings, collectives, folder)


@contextmanager
def _folder(settings: TrainSettings, collectives: Engine) -> Iterator[RunFolder]:
    """The run folder, held by the root against other jobs while the context lasts (every rank enters it).

    Raises:
        Refused: on every rank, when it is another job's, or holds a run already, or cannot be written.
    """
    with ExitStack() as stack:

        def hold() -> RunFolder:
            folder = RunFolder(settings.run_dir) if settings.run_dir else make_default_folder(settings)
            stack.enter_context(folder.held(settings.resume))
            return folder

        folder = together(collectives, lambda: hold() if collectives.world.is_root else None)
        path = broadcast_text(collectives, str(folder.path) if folder else "")
        yield folder or RunFolder(path)


def _train(settings: TrainSettings, collectives: Engine, folder: RunFolder) -> Result:
    world = collectives.world
    prepared = prepare(settings, collectives)
    with closing(prepared.way):
        resumed = restore_newest(prepared, folder.checkpoints) if settings.resume else Resumed(Position(), world.size)
        written_together(collectives, lambda: world.is_root and _begin(settings, resumed, folder))
        if world.is_root:
            if settings.resume:
                print(_where(resumed, world), flush=True)
            announce(prepared)
        position = _run(prepared, resumed.position, folder)
    return Result(world, folder.path, _finish(prepared, position, folder))


def _begin(settings: TrainSettings, resumed: Resumed, folder: RunFolder) -> None:
    """The first that is written, when all ranks have agreed to settings, data, model and checkpoint."""
    missing = folder.begin(settings, resumed.position.step, resumed.rows, resumed.position.epoch)
    if missing:
        print(missing)
    for sentence, path in zip(resumed.bad, resumed.unusable):
        aside = set_aside(path)
        print(f"passed over a bad checkpoint: {sentence}" + (f"; it is kept as {aside}" if aside else ""))


def _where(resumed: Resumed, world: World) -> str:
    position, size = resumed.position, world.size
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
        row = progress.report.row()
        _record(prepared, progress.position, row, folder)
        if is_root:
            display.show_epoch(row)
        every = settings.checkpoint_every
        if loop.done or (every and progress.position.epoch % every == 0):
            _save(prepared, progress.position, folder)
            saved = progress.position.step
    if loop.stopped:
        display.close()
        if saved != loop.position.step:
            _save(prepared, loop.position, folder)
        answered()
        raise Stopped(f"stopped at step {loop.position.step} by {loop.stopped}, with a checkpoint in {folder.checkpoints}: "
                      "go on with --resume")
    return loop.position


def _record(prepared: Prepared, position: Position, row: dict, folder: RunFolder) -> None:
    """A row of metrics; where it cannot be written the run ends, and a checkpoint holds the row and the steps before it.

    Raises:
        NotWritten: on every rank.
    """
    try:
        written_together(prepared.collectives, lambda: prepared.collectives.world.is_root and folder.append_metrics(row))
    except NotWritten as failure:
        checkpoint = _save(prepared, position, folder, rows=[row])
        raise NotWritten(f"{failure}; nothing that was trained is lost: go on from {checkpoint} with --resume") from None


def _save(prepared: Prepared, position: Position, folder: RunFolder, rows: Sequence[dict] = ()) -> Path:
    return save(prepared, position, folder.checkpoints, prepared.settings.keep_checkpoints, rows, folder.check_held)


def _finish(prepared: Prepared, position: Position, folder: RunFolder) -> dict:
    """Models, pictures and the summary, written by the root; the summary on every rank.

    Raises:
        NotWritten: on every rank; the checkpoint of the last step is there.
    """
    summary: dict = {}

    def write() -> None:
        try:
            with prepared.collectives.busy("writing the models and pictures"):
                summary.update(_write_outcome(prepared, position, folder))
        except NotWritten as failure:
            raise NotWritten(f"{failure}; the training itself is done: --resume writes what is missing") from None

    written_together(prepared.collectives, lambda: prepared.collectives.world.is_root and write())
    prove_saved(prepared, folder.path / "model.keras")
    return json.loads(broadcast_text(prepared.collectives, as_json(summary)))


def _write_outcome(prepared: Prepared, position: Position, folder: RunFolder) -> dict:
    replica, settings = prepared.replica, prepared.settings
    folder.check_held()
    rows = folder.read_metrics()
    parameters, buffers = prepared.way.result
    replica.release_slots()  # writing a model takes memory
    model = replica.flat.write(parameters.numpy(), buffers.numpy(), [c.numpy() for c in prepared.way.result_counters])
    encoder = save_models(model, folder.path)
    draw_pictures(model, encoder, prepared.source, rows, settings.loss, folder.path)
    summary = summarise(settings, prepared.collectives.world, replica.flat.layout.size, rows, checksum(parameters), position)
    folder.write_summary(summary)
    print(f"model, pictures and figures are in {folder.path}", flush=True)
    return summary


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
