"""Training as a whole: from settings to a finished run folder. The command line does no more than call this."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.averaging.sync_check import checksum
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import about_gpus, start
from hvd_ae.data.memory import splits_of
from hvd_ae.data.source import Splits
from hvd_ae.data.staging import staged
from hvd_ae.data.statistics import Statistics
from hvd_ae.errors import NotWritten, Stopped
from hvd_ae.models.learner import Learner
from hvd_ae.runs.announcement import announce
from hvd_ae.runs.best import Best
from hvd_ae.runs.checkpoints import Checkpoints
from hvd_ae.runs.console import Console
from hvd_ae.runs.files import replacing
from hvd_ae.runs.folder import RunFolder, as_json, make_default_folder
from hvd_ae.runs.metrics_file import MetricsFile
from hvd_ae.runs.outcome import draw_loss, draw_pictures, in_raw_units_of, save_models, summarize
from hvd_ae.runs.page.callback import Page
from hvd_ae.runs.page.samples import save_look
from hvd_ae.runs.tracking import make_trackers
from hvd_ae.runtime.consensus import broadcast_text, run_on_all
from hvd_ae.runtime.log import let_root_speak, log
from hvd_ae.runtime.signals import catch_signals, clear_signals, stop_requested
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.task import Task
from hvd_ae.training import session as training
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import Resumed, restore_newest
from hvd_ae.training.checkpointing.save import set_aside
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.fewer_ranks import as_on
from hvd_ae.training.report import EpochReport
from hvd_ae.training.samples import load_on_all
from hvd_ae.training.saved_model import check_saved_model


@dataclass(frozen=True)
class Result:
    """What a run came to; `summary` is what `summary.json` holds, on every rank."""

    world: World
    run_dir: Path
    summary: dict


class Session:
    """A training with its run folder, used in a `with` statement; every rank of the job makes one.

        with hvd_ae.Session(settings, learner=MyLearner) as session:
            for record in session.run():
                ...

    Args:
        comm: what `start` returned, where a script has called it already.
        source: samples in place of those that the settings name: `Splits`, a `Source`, or arrays (see `splits_of`).
        task: what is learnt, in place of what the settings say.
        callbacks: what happens beside training, after the console and `metrics.jsonl`, before a checkpoint is written.
        learner: what takes steps, a subclass of `Learner`; averaging, checkpoints and the checks of ranks stay as they are.
        others: what `hvd_ae.training.session.Session` takes besides.

    training: the training itself, with its `learner`, `strategy`, `cursor`, `source` and `comm`.
    result: what the run came to, when `run` has ended.

    Raises:
        Refused: on every rank, when the context is entered, where settings, data, model or run folder cannot be used.
    """

    def __init__(self, settings: TrainSettings, comm: Communicator | None = None, source=None, task: Task | None = None,
                 callbacks: Sequence[Callback] = (), learner: type[Learner] = Learner, **others):
        self.settings, self._comm, self._source = settings.resolved(), comm, source
        self._own_parts = {"task": task, "learner": learner, **others}
        self._callbacks = callbacks
        self.training: training.Session | None = None
        self.result: Result | None = None

    def __enter__(self) -> "Session":
        settings = self.settings
        with ExitStack() as stack:
            stack.enter_context(catch_signals())
            comm = self._comm or start(settings.collectives, settings.threads)
            let_root_speak(comm.world.is_root, settings.log_level or ("warning" if settings.quiet else None))
            settings = as_on(settings, comm.world)
            self._folder = folder = stack.enter_context(_held_folder(settings, comm))
            self.settings = settings = dataclasses.replace(settings, collectives=comm.name, run_dir=str(folder.path))
            checkpoints = Checkpoints(folder)
            trackers = run_on_all(comm, lambda: make_trackers(settings.track, folder))
            best = [Best(folder)] if settings.keep_best else []
            everything = [*best, MetricsFile(folder, checkpoints), Console(), *self._callbacks, checkpoints, Page(folder),
                          *trackers]
            known = Statistics.load(folder.statistics) if comm.world.is_root else None  # of a run that goes on
            stack.enter_context(comm.watched(settings.stall_timeout, folder.stalled))
            loaded = stack.enter_context(_loaded(settings, comm, self._source))
            self.training = stack.enter_context(training.Session(settings, comm, loaded, callbacks=everything,
                                                                 statistics=known, **self._own_parts))
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *error) -> bool | None:
        return self._opened.__exit__(*error)

    def run(self) -> Iterator[dict]:
        """Train, from the newest checkpoint where the run goes on: each epoch's record, the line of `metrics.jsonl`.

        After the last one the models and the summary are written. Who leaves the loop before has the checkpoints; and every
        rank must leave it after the same epoch.

        Raises:
            OutOfSync: on every rank, when ranks that should hold the same parameters do not.
            Stopped: on every rank, when SIGTERM, SIGUSR1 or SIGUSR2 came to any, and the checkpoint is written.
            NotWritten: on every rank, when a file of the run cannot be written, or another job has taken the folder over.
        """
        for report in _epochs(self.training, self._folder):
            yield report.record()
        self.result = Result(self.training.comm.world, self._folder.path, _end(self.training, self._folder))


def train(settings: TrainSettings, comm: Communicator | None = None, source=None, task: Task | None = None,
          callbacks: Sequence[Callback] = (), learner: type[Learner] = Learner) -> Result:
    """Train as `settings` say; every rank of the job calls it. Arguments, and what is raised, are those of `Session`."""
    with Session(settings, comm, source, task, callbacks, learner) as session:
        for _ in session.run():
            pass
        return session.result


@contextmanager
def _loaded(settings: TrainSettings, comm: Communicator, source) -> Iterator[Splits]:
    """The samples, from copies on the node's own disk where the settings say so."""
    if source is not None:
        yield run_on_all(comm, lambda: splits_of(source, settings.validation_split))
        return
    with staged([settings.data, settings.validation_data], settings.stage, comm) as (data, validation_data):
        yield load_on_all(dataclasses.replace(settings, data=data, validation_data=validation_data), comm)


@contextmanager
def _held_folder(settings: TrainSettings, comm: Communicator) -> Iterator[RunFolder]:
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


def _epochs(session: training.Session, folder: RunFolder) -> Iterator[EpochReport]:
    """From the newest checkpoint, where the run goes on, to the last epoch."""
    world, settings = session.comm.world, session.settings
    resumed = restore_newest(session, folder.checkpoints) if settings.resume else Resumed(Cursor(), world.size)
    run_on_all(session.comm, lambda: world.is_root and _begin(session, resumed, folder), NotWritten)
    if world.is_root:
        if settings.resume:
            log.info(_where(resumed, world))
        announce(session)
        for line in about_gpus(settings.collectives, world.size):
            log.info(line)
    yield from session.epochs(lambda: stop_requested(session.comm))
    if session.stopped_by:
        clear_signals()
        raise Stopped(f"stopped at step {session.cursor.step} by {session.stopped_by}, with a checkpoint in "
                      f"{folder.checkpoints}: go on with --resume")


def _end(session: training.Session, folder: RunFolder) -> dict:
    """What a run leaves behind, the summary on every rank."""
    if session.stop_reason and session.comm.world.is_root:
        log.info(f"ended after {session.cursor.step} steps: {session.stop_reason}")
    best_epoch = None
    for best in (callback for callback in session.callbacks if isinstance(callback, Best)):
        best.restore_into(session)
        best_epoch = best.epoch
    summary = _finish(session, folder, best_epoch)
    for callback in session.callbacks:
        callback.on_end(session, summary)
    return summary


def _begin(session: training.Session, resumed: Resumed, folder: RunFolder) -> None:
    """The first that is written, when all ranks have agreed to settings, data, model and checkpoint."""
    missing = folder.begin(session.settings, resumed.cursor.step, resumed.records, resumed.cursor.epoch)
    if missing:
        log.warning(missing)
    if session.statistics is not None:
        with replacing(folder.statistics) as partial:
            session.statistics.save(partial)
    for sentence, path in zip(resumed.bad, resumed.unusable):
        aside = set_aside(path)
        log.warning(f"passed over a bad checkpoint: {sentence}" + (f"; it is kept as {aside}" if aside else ""))


def _where(resumed: Resumed, world: World) -> str:
    if resumed.cursor == Cursor():
        return "no checkpoint yet: starting from nothing"
    others = f", which {resumed.ranks} ranks wrote and {world.size} go on from" if resumed.ranks != world.size else ""
    return f"going on from step {resumed.cursor.step}{others}"


def _finish(session: training.Session, folder: RunFolder, best_epoch: int | None) -> dict:
    """Models, pictures and the summary, written by the root; the summary on every rank.

    Raises:
        NotWritten: on every rank; the checkpoint of the last step is there.
    """
    summary: dict = {}

    def write() -> None:
        try:
            with session.comm.busy("writing the models and pictures"):
                summary.update(_write_outcome(session, folder, best_epoch))
        except NotWritten as failure:
            raise NotWritten(f"{failure}; the training itself is done: --resume writes what is missing") from None

    run_on_all(session.comm, lambda: session.comm.world.is_root and write(), NotWritten)
    check_saved_model(session, folder.path / "model.keras")
    return json.loads(broadcast_text(session.comm, as_json(summary)))


def _write_outcome(session: training.Session, folder: RunFolder, best_epoch: int | None) -> dict:
    learner, settings = session.learner, session.settings
    folder.check_held()
    records = folder.read_metrics()
    parameters, buffers = session.strategy.result
    learner.release_training_state()  # writing a model takes memory
    model = learner.flat.write(parameters.numpy(), buffers.numpy(), [c.numpy() for c in session.strategy.result_counters])
    parts = in_raw_units_of(session.task, session.source.train.fields, model)
    save_models(parts, folder.path)
    draw_loss(records, settings, folder.path)
    if session.task.reconstructs:
        save_look(draw_pictures(session.task, parts, session.raw_source, folder.path), folder.path / "samples.npz")
    summary = summarize(settings, session.comm.world, learner.flat.layout.size, records, checksum(parameters), session.cursor,
                        session.input.data_bytes, best_epoch, session.stop_reason)
    folder.write_summary(summary)
    if best_epoch is not None:
        log.info(f"the model is that of epoch {best_epoch}, whose val_loss {summary['val_loss']:.6g} was the lowest")
    log.info(f"model, pictures and figures are in {folder.path}")
    return summary
