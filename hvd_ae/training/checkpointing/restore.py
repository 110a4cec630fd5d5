"""Going on from a checkpoint: exactly where as many ranks wrote it, and without losing a sample where others did."""

import dataclasses
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import gather_texts, refused_on_all, run_on_all
from hvd_ae.training.checkpointing.files import BadFile, read_json, read_vectors
from hvd_ae.training.checkpointing.names import checkpoints, own_prefix, step_of
from hvd_ae.training.checkpointing.reshard import resharded
from hvd_ae.training.checkpointing.save import FORMAT, variables_of
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.session import Session, broadcast_variables

T = TypeVar("T")
_MOST = 100  # checkpoints that are looked at, and ranks that are named


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    cursor: Cursor  # the run's beginning where there is no checkpoint
    ranks: int  # that wrote the checkpoint
    bad: Sequence[str] = ()  # a sentence about each newer checkpoint that could not be used
    unusable: Sequence[Path] = ()  # these
    records: Sequence[dict] = ()  # of metrics, that the checkpoint holds because they could not be written then


def restore_newest(session: Session, folder: Path) -> Resumed:
    """Go back to the newest checkpoint that is good on every rank (every rank calls it); nothing is written.

    Raises:
        Refused: the checkpoint is of a run with other settings, another model or other data; or there are checkpoints, and
            none can be used.
    """
    comm, bad, unusable = session.comm, [], []
    for path in _seen_by_any(comm, folder):
        read, fault = _tried(comm, lambda path=path: _Checkpoint(session, path))
        if not fault:
            run_on_all(comm, read.check_same_run)
            shared, fault = _tried(comm, read.shared)
        if not fault:
            own, fault = _tried(comm, read.own)
        if fault:
            bad.append(fault)
            unusable.append(path)
            continue
        session.input.set_window(read.window, read.layout)
        _assign(session, read, shared, own)
        session.cursor = read.cursor
        for callback in session.callbacks:
            if callback.name in read.callbacks:
                callback.restore(read.callbacks[callback.name])
        return Resumed(read.cursor, read.ranks, bad, unusable, read.records)
    if bad:
        raise refused_on_all(f"no checkpoint in {folder} can be used ({'; '.join(bad)}), and nothing there was "
                             "touched: mend this, or begin anew with another --run-dir")
    return Resumed(Cursor(), comm.world.size)


def restore_vectors(session: Session, path: Path) -> None:
    """What training changes, as this checkpoint has it, on every rank; the cursor and the callbacks stay as they are.

    Raises:
        Refused: on every rank, where it is not as it was written.
    """
    read, fault = _tried(session.comm, lambda: _Checkpoint(session, path))
    if not fault:
        shared, fault = _tried(session.comm, read.shared)
    if not fault:
        own, fault = _tried(session.comm, read.own)
    if fault:
        raise refused_on_all(f"the best model cannot be read ({fault}): the run's last is in its newest checkpoint; go on "
                             "with --resume --no-keep-best to save that")
    _assign(session, read, shared, own)


def _seen_by_any(comm: Communicator, folder: Path) -> list[Path]:
    """Checkpoints that any rank sees, the newest first: what only some see must not be taken for none."""
    seen = gather_texts(comm, " ".join(path.name for path in checkpoints(folder)[:_MOST]))
    return sorted({folder / name for text in seen for name in text.split()}, key=step_of, reverse=True)


def _tried(comm: Communicator, read: Callable[[], T]) -> tuple[T | None, str | None]:
    """What `read` returns, and None; or what is wrong with the files of any rank, the same on all."""
    result, fault = None, ""
    try:
        result = read()
    except BadFile as error:
        fault = str(error)
    if not comm.maximum_int(bool(fault)):
        return result, None
    return None, _by_ranks(gather_texts(comm, fault))


def _by_ranks(faults: list[str]) -> str:
    """Each fault once, with the ranks that see it where not all do; a rank without one has the text ''."""
    if len(set(faults)) == 1:
        return faults[0]
    said = []
    for fault in dict.fromkeys(filter(None, faults)):
        ranks = [str(rank) for rank, text in enumerate(faults) if text == fault]
        named = ", ".join(ranks[:_MOST]) + ", ..." * (len(ranks) > _MOST)
        said.append(f"on rank{'s' * (len(ranks) > 1)} {named} of {len(faults)} {fault}")
    return "; ".join(said)


class _Checkpoint:
    """One checkpoint as this rank sees it.

    Raises:
        BadFile: its manifest, or this rank's list of files, cannot be used.
    """

    def __init__(self, session: Session, path: Path):
        self._session, self._path = session, path
        self._world, self._settings = session.comm.world, session.settings
        if not path.is_dir():
            raise BadFile(f"{path} cannot be seen")
        self._manifest = manifest = read_json(path / "manifest.json")
        if manifest.get("format") != FORMAT:
            wrote = f"hvd_ae {manifest['version']}" if "version" in manifest else "an older hvd_ae"
            raise BadFile(f"{path} was written by {wrote} in format {manifest.get('format')}, and this is hvd_ae "
                          f"{version('hvd_ae')}, which reads format {FORMAT}: go on with the version that wrote it")
        self.ranks = manifest["ranks"]
        # those of another period are at another place in it
        self._has_same_period = manifest.get("accumulate", self._settings.accumulate) == self._settings.accumulate
        self.is_exact = self.ranks == self._world.size and self._has_same_period
        self.records, self.had_schedule, self.callbacks = (manifest[name] for name in ("records", "had_schedule", "callbacks"))
        self.window: int | None = manifest["window"]
        self.layout: int | None = manifest.get("layout")
        self._own_files = read_json(path / f"{own_prefix(self._world.rank)}json") if self._has_own and self.is_exact else {}

    @property
    def _has_own(self) -> bool:
        return self._manifest["of_ranks"]

    @property
    def has_same_steps(self) -> bool:
        """Whether the ranks that train, and their batch, are those of the run that wrote it."""
        return self._has_same_period and (self._manifest["trainers"], self._manifest["batch_size"]) == (
            self._session.trainers.size, self._settings.batch_size)

    @property
    def cursor(self) -> Cursor:
        """With this rank's part of the epoch's loss: its own, or the root that of all."""
        cursor = Cursor.from_table(self._manifest["position"])
        if self._own_files:
            cursor = dataclasses.replace(cursor, loss_sum=self._own_files["loss_sum"])
        elif not self._world.is_root:
            cursor = dataclasses.replace(cursor, loss_sum=0.0)
        if self.has_same_steps:
            return cursor
        return cursor.continued_by(self._manifest["trainers"], self._manifest["batch_size"])

    def check_same_run(self) -> None:
        for name, was in self._manifest["settings"].items():
            now = getattr(self._settings, name, None)
            if now != was:
                raise Refused(f"{self._path} is of a run with {name}={was!r}, but now {name}={now!r}: go on with the "
                              "same, or use another --run-dir")
        if self._manifest["data_fingerprint"] != self._session.data_fingerprint:
            raise Refused(f"{self._path} is of a run on other data (then data={self._manifest['data']!r}, now "
                          f"data={self._settings.data!r}): go on with the same, or use another --run-dir")
        measured = None if self._session.statistics is None else self._session.statistics.digest
        if self._manifest.get("statistics") != measured:
            raise Refused(f"{self._path} is of a run whose training samples had other statistics: data="
                          f"{self._settings.data!r} has changed, and normalize={self._settings.normalize!r} would mean "
                          "something else now; go on with the data as they were, or use another --run-dir")
        self._check_same_model()
        strategy = self._session.strategy
        known = {*strategy.state, *strategy.exact_state, "schedule_shift"}  # a run may go on without a schedule
        unknown = sorted({*self._manifest["files"], *self._own_files.get("own", ())} - known)
        if unknown:
            raise Refused(f"{self._path} holds {unknown[0]}, for which this run has no place: go on with the versions of "
                          "hvd_ae and Keras that wrote it, or use another --run-dir")

    def _check_same_model(self) -> None:
        now = variables_of(self._session)
        was = self._manifest["variables"]
        difference = next((f"{name_now} has shape {tuple(shape_now)}, where {name_was} had {tuple(shape_was)}"
                           for (name_was, shape_was), (name_now, shape_now) in zip(was, now) if shape_was != shape_now), None)
        if difference is None and len(was) != len(now):
            difference = f"it has {len(now)} variables, and had {len(was)}"
        if difference:
            raise Refused(f"{self._path} is of a run whose model={self._settings.model!r} was another ({difference}): go on "
                          "with the same model, or use another --run-dir")

    def shared(self) -> dict[str, np.ndarray]:
        """What the root has to tell all ranks.

        Raises:
            BadFile: naming the file.
        """
        return read_vectors(self._path, "", self._manifest["files"]) if self._world.is_root else {}

    def own(self) -> dict[str, np.ndarray | None]:
        """What is this rank's own; every rank calls it.

        Raises:
            BadFile: naming the file.
        """
        if not self._has_own:
            return {}
        if self.is_exact:
            prefix = own_prefix(self._world.rank)
            return {**read_vectors(self._path, prefix, self._own_files["own"]),
                    **read_vectors(self._path, f"{prefix}exact.", self._own_files["exact"])}
        return resharded(self._session.strategy, self._session.comm, self._path, self.ranks)


def _assign(session: Session, checkpoint: _Checkpoint, shared: dict, own: dict) -> None:
    """Put the vectors into the learner, the shared ones from the root to all ranks."""
    comm, strategy = session.comm, session.strategy
    for name, variable in strategy.replicated_state().items():
        if name in shared:  # only the root has any, and a warm-up's count may be new
            variable.assign(shared[name])
    broadcast_variables(list(strategy.replicated_state().values()), comm)
    for name, value in own.items():
        if value is not None and name in strategy.exact_state:
            strategy.exact_state[name].assign(value)
    if (shift := session.learner.schedule_shift) is not None and not (checkpoint.is_exact and checkpoint.has_same_steps
                                                                   and checkpoint.had_schedule):
        shift.assign(_updates_of_a_run_like_this(session, checkpoint.cursor) - session.learner.updates)


def _updates_of_a_run_like_this(session: Session, cursor: Cursor) -> int:
    """How often these ranks with this batch would have called the optimizer up to the same part of an epoch."""
    train = session.source.train.count
    return round((cursor.epoch + cursor.epoch_samples / train) * session.updates_per_epoch)
