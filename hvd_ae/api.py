"""Training as a whole: from settings to a finished run folder. The command line does no more than call this."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.averaging.closing import closing
from hvd_ae.averaging.sync_check import checksum
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.errors import NotWritten, Stopped
from hvd_ae.models.optimizers import scaled_rate
from hvd_ae.runs.console import ProgressDisplay
from hvd_ae.runs.folder import RunFolder, as_json, make_default_folder
from hvd_ae.runs.outcome import draw_pictures, save_models, summarise
from hvd_ae.runtime.consensus import broadcast_text, run_on_all, written_together
from hvd_ae.runtime.signals import catch_signals, clear_signals, stop_requested
from hvd_ae.runtime.world import World
from hvd_ae.training.checkpointing.restore import Resumed, restore_newest
from hvd_ae.training.checkpointing.save import save, set_aside
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.loop import Loop
from hvd_ae.training.saved import prove_saved
from hvd_ae.training.session import Session, prepare


@dataclass(frozen=True)
class Result:
    """What a run came to; `summary` is what `summary.json` holds, on every rank."""

    world: World
    run_dir: Path
    summary: dict


def train(settings: TrainSettings, comm: Communicator | None = None) -> Result:
    """Train as `settings` say; every rank of the job calls it.

    Args:
        collectives: what `start` returned, where a script has called it already.

    Raises:
        Refused: on every rank, when settings, data, model or run folder cannot be used.
        OutOfStep: on every rank, when ranks that should hold the same parameters do not.
        Stopped: on every rank, when SIGTERM, SIGUSR1 or SIGUSR2 came to any, and the checkpoint is written.
        NotWritten: on every rank, when a file of the run cannot be written, or another job has taken the folder over.
    """
    settings = settings.resolved()
    with catch_signals():
        comm = comm or start(settings.collectives, settings.threads)
        with _folder(settings, comm) as folder:
            settings = dataclasses.replace(settings, collectives=comm.name, run_dir=str(folder.path))
            with comm.watched(settings.stall_timeout, folder.stalled):
                return _train(settings, comm, folder)


@contextmanager
def _folder(settings: TrainSettings, comm: Communicator) -> Iterator[RunFolder]:
    """The run folder, held by the root against other jobs while the context lasts (every rank enters it).

    Raises:
        Refused: on every rank, when it is another job's, or holds a run already, or cannot be written.
    """
    with ExitStack() as stack:

        def hold() -> RunFolder:
            folder = RunFolder(settings.run_dir) if settings.run_dir else make_default_folder(settings)
            stack.enter_context(folder.held(settings.resume))
            return folder

        folder = run_on_all(comm, lambda: hold() if comm.world.is_root else None)
        path = broadcast_text(comm, str(folder.path) if folder else "")
        yield folder or RunFolder(path)


def _train(settings: TrainSettings, comm: Communicator, folder: RunFolder) -> Result:
    world = comm.world
    session = prepare(settings, comm)
    with closing(session.strategy):
        resumed = restore_newest(session, folder.checkpoints) if settings.resume else Resumed(Cursor(), world.size)
        written_together(comm, lambda: world.is_root and _begin(settings, resumed, folder))
        if world.is_root:
            if settings.resume:
                print(_where(resumed, world), flush=True)
            announce(session)
        cursor = _run(session, resumed.cursor, folder)
    return Result(world, folder.path, _finish(session, cursor, folder))


def _begin(settings: TrainSettings, resumed: Resumed, folder: RunFolder) -> None:
    """The first that is written, when all ranks have agreed to settings, data, model and checkpoint."""
    missing = folder.begin(settings, resumed.cursor.step, resumed.rows, resumed.cursor.epoch)
    if missing:
        print(missing)
    for sentence, path in zip(resumed.bad, resumed.unusable):
        aside = set_aside(path)
        print(f"passed over a bad checkpoint: {sentence}" + (f"; it is kept as {aside}" if aside else ""))


def _where(resumed: Resumed, world: World) -> str:
    cursor, size = resumed.cursor, world.size
    if cursor == Cursor():
        return "no checkpoint yet: starting from nothing"
    others = f", which {resumed.ranks} ranks wrote and {size} go on from" if resumed.ranks != size else ""
    return f"going on from step {cursor.step}{others}"


def _run(session: Session, cursor: Cursor, folder: RunFolder) -> Cursor:
    """Train to the end, with a row of metrics an epoch and a checkpoint every so many.

    Raises:
        Stopped: after a signal, and a checkpoint.
    """
    settings, is_root = session.settings, session.comm.world.is_root
    display = ProgressDisplay(settings.epochs)
    loop = Loop(session, cursor, lambda: stop_requested(session.comm))
    saved = cursor.step if settings.resume else None
    for progress in loop.run():
        if progress.report is None:
            if is_root:
                display.show_steps(progress.cursor, progress.steps_per_epoch)
            continue
        row = progress.report.row()
        _record(session, progress.cursor, row, folder)
        if is_root:
            display.show_epoch(row)
        every = settings.checkpoint_every
        if loop.done or (every and progress.cursor.epoch % every == 0):
            _save(session, progress.cursor, folder)
            saved = progress.cursor.step
    if loop.stopped:
        display.close()
        if saved != loop.cursor.step:
            _save(session, loop.cursor, folder)
        clear_signals()
        raise Stopped(f"stopped at step {loop.cursor.step} by {loop.stopped}, with a checkpoint in {folder.checkpoints}: "
                      "go on with --resume")
    return loop.cursor


def _record(session: Session, cursor: Cursor, row: dict, folder: RunFolder) -> None:
    """A row of metrics; where it cannot be written the run ends, and a checkpoint holds the row and the steps before it.

    Raises:
        NotWritten: on every rank.
    """
    try:
        written_together(session.comm, lambda: session.comm.world.is_root and folder.append_metrics(row))
    except NotWritten as failure:
        checkpoint = _save(session, cursor, folder, rows=[row])
        raise NotWritten(f"{failure}; nothing that was trained is lost: go on from {checkpoint} with --resume") from None


def _save(session: Session, cursor: Cursor, folder: RunFolder, rows: Sequence[dict] = ()) -> Path:
    return save(session, cursor, folder.checkpoints, session.settings.keep_checkpoints, rows, folder.check_held)


def _finish(session: Session, cursor: Cursor, folder: RunFolder) -> dict:
    """Models, pictures and the summary, written by the root; the summary on every rank.

    Raises:
        NotWritten: on every rank; the checkpoint of the last step is there.
    """
    summary: dict = {}

    def write() -> None:
        try:
            with session.comm.busy("writing the models and pictures"):
                summary.update(_write_outcome(session, cursor, folder))
        except NotWritten as failure:
            raise NotWritten(f"{failure}; the training itself is done: --resume writes what is missing") from None

    written_together(session.comm, lambda: session.comm.world.is_root and write())
    prove_saved(session, folder.path / "model.keras")
    return json.loads(broadcast_text(session.comm, as_json(summary)))


def _write_outcome(session: Session, cursor: Cursor, folder: RunFolder) -> dict:
    replica, settings = session.replica, session.settings
    folder.check_held()
    rows = folder.read_metrics()
    parameters, buffers = session.strategy.result
    replica.release_optimizer_state()  # writing a model takes memory
    model = replica.flat.write(parameters.numpy(), buffers.numpy(), [c.numpy() for c in session.strategy.result_counters])
    encoder = save_models(model, folder.path)
    draw_pictures(model, encoder, session.source, rows, settings.loss, folder.path)
    summary = summarise(settings, session.comm.world, replica.flat.layout.size, rows, checksum(parameters), cursor)
    folder.write_summary(summary)
    print(f"model, pictures and figures are in {folder.path}", flush=True)
    return summary


def announce(session: Session) -> None:
    """Say what is about to run: the effective global batch and learning rate above all."""
    s, world, train = session.settings, session.comm.world, session.source.train
    trainers = session.trainers.size
    rate = scaled_rate(s.learning_rate, s.lr_scaling, trainers)
    nodes = f" on {world.nodes} nodes" if world.nodes > 1 else ""
    every = f" every {s.sync_every} steps" if s.sync_every else ""
    warm_up = f" after {s.warmup_epochs:g} epochs of warm-up" if s.warmup_epochs else ""
    print(f"{world.size} rank{'s' * (world.size > 1)}{nodes}, collectives: {s.collectives}\n"
          f"data: {s.data}, {train.count:,} training and {session.source.validation.count:,} validation samples of "
          f"shape {train.sample_shape}, partition {s.partition}\n"
          f"model: {s.model}, {session.replica.flat.layout.size:,} parameters; averaging: {s.averaging}{every}\n"
          f"global batch: {s.batch_size * trainers} ({trainers} x {s.batch_size}), {s.optimizer} at learning rate "
          f"{rate:.6g}{warm_up} (scaling {s.lr_scaling})", flush=True)
