"""Checkpoints: written beside the last good one, and renamed into place when every rank's files are on disk.

    checkpoints/step-00000235/
        manifest.json            how far the run was, its settings, and each shared file's SHA-256
        parameters.npy ...       what is the same on all ranks once they are synchronized, written by the root
        rank-00001.json          the same list for what is rank 1's own
        rank-00001.seed_0.npy    such as dropout's seeds, or optimizer state that is not averaged
        rank-00001.exact.*.npy   in the middle of an epoch: what synchronizing has changed, as it was before

So a folder with its final name is whole, whenever a writer was killed. The same number of ranks goes on from the exact
state, another number from the synchronized one. What is found to be of no use when a run goes on gets another name,
`unusable-step-N`, and is left to the user.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.sync_check import check_in_sync
from hvd_ae.errors import NotWritten
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.train import same_on_resume
from hvd_ae.training.checkpointing.files import sync_folder, write_json, write_vectors
from hvd_ae.training.checkpointing.names import checkpoints, own_prefix, step_of

if TYPE_CHECKING:
    from hvd_ae.training.session import Session

FORMAT = 4


def save(session: "Session", folder: Path, keep: int, records: Sequence[dict] = (),
         check: Callable[[], None] = lambda: None) -> Path:
    """Write a checkpoint and delete all but the newest `keep` up to this step (every rank calls it); returns its path.

    Args:
        records: of metrics, that the run folder has not got and that go with this checkpoint.
        check: whether this job may write still; called by the root.

    Raises:
        OutOfSync: on every rank, and nothing is written.
        NotWritten: on every rank, where a file could not be written on any; older checkpoints are as they were.
    """
    writing = Writing(session, taken(session, records), folder, keep, check)
    writing.write()
    return writing.put_in_place()


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a checkpoint is to hold, as it was when it was taken: training that goes on does not change it."""

    step: int
    manifest: dict
    shared: dict[str, tf.Tensor]  # what the root writes for all
    own: dict[str, tf.Tensor]  # this rank's
    exact: dict[str, tf.Tensor]  # this rank's, that synchronizing has changed
    loss_sum: float

    def bytes_of(self, is_root: bool) -> int:
        """What this rank holds and writes."""
        values = [*self.own.values(), *self.exact.values(), *(self.shared.values() if is_root else ())]
        return sum(value.dtype.size * value.shape.num_elements() for value in values)


def taken(session: "Session", records: Sequence[dict] = ()) -> Taken:
    """What there is to save now (every rank calls it); afterwards the training is where it was.

    In the middle of an epoch the ranks synchronize for it, and take back what that has changed. That they are in sync is
    checked first: what was the same on all ranks before, synchronizing leaves as it was or moves alike.

    Raises:
        OutOfSync: on every rank.
    """
    comm, strategy, cursor = session.comm, session.strategy, session.cursor
    # each value shares its variable's memory until that changes
    before = {name: variable.read_value() for name, variable in strategy.exact_state.items()} if cursor.step_in_epoch else {}
    if before:
        strategy.synchronize()
        check_in_sync(strategy, cursor.step)
    exact = {name: value for name, value in before.items()
             if name not in strategy.state or not np.array_equal(value, strategy.state[name].variable)}
    loss_sum = float(comm.sum(np.array([cursor.loss_sum])).numpy()[0])
    shared = {name: variable.read_value() for name, variable in strategy.replicated_state().items()}
    own = {name: variable.read_value() for name, variable in strategy.rank_state().items()}
    manifest = {
        "format": FORMAT, "ranks": comm.world.size, "trainers": session.trainers.size,
        "batch_size": session.settings.batch_size, "accumulate": session.settings.accumulate,
        "of_ranks": bool(own) or cursor.step_in_epoch > 0,
        "position": dataclasses.asdict(dataclasses.replace(cursor, loss_sum=loss_sum)),
        "settings": {name: getattr(session.settings, name) for name in same_on_resume()}, "variables": variables_of(session),
        "data": session.settings.data, "data_fingerprint": session.data_fingerprint, "records": list(records),
        "statistics": None if session.statistics is None else session.statistics.digest,
        "window": session.input.memory.window, "layout": session.input.layout,
        "had_schedule": session.learner.schedule_shift is not None,
        "version": version("hvd_ae"),
        "callbacks": {callback.name: callback.state() for callback in session.callbacks if callback.name},
    }
    if before:  # as where a run goes on from it
        for name, value in exact.items():
            strategy.exact_state[name].assign(value)
        strategy.begin_epoch(cursor.epoch)
    return Taken(cursor.step, manifest, shared, own, exact, cursor.loss_sum)


class Writing:
    """A checkpoint on its way to the disk: begun and put in place by all ranks together, written by each alone in between.

    Args:
        keep, check: as `save` takes them.

    Raises:
        NotWritten: on every rank, where the folder cannot be made; as every method does that all ranks call.
    """

    def __init__(self, session: "Session", what: Taken, folder: Path, keep: int, check: Callable[[], None]):
        self._session, self._what, self._keep = session, what, keep
        self._world = session.comm.world
        self._check = check if self._world.is_root else lambda: None
        self.path = folder / f"step-{what.step:08d}"
        self._partial = folder / f"{self.path.name}.partial"
        self._together(lambda: self._world.is_root and _make(self._partial))

    def write(self) -> None:
        """Write this rank's files (every rank calls it)."""
        self._together(self.write_alone)

    def write_alone(self) -> None:
        """The same without a word to the others, in a thread for instance.

        Raises:
            OSError: a file could not be written.
        """
        what = self._what
        if what.manifest["of_ranks"]:
            _write_own(self._partial, self._world.rank, what)
        if self._world.is_root:
            files = write_vectors(self._partial, "", what.shared)
            write_json(self._partial / "manifest.json", {**what.manifest, "files": files})

    def put_in_place(self, written: Callable[[], None] = lambda: None) -> Path:
        """Give the folder its final name, and delete older ones, when all ranks have written (every rank calls it).

        Args:
            written: returns when this rank has, or raises the OSError because of which it could not.
        """
        self._together(written)
        self._together(lambda: self._world.is_root and _put_in_place(self._partial, self.path, self._keep))
        return self.path

    def _together(self, work: Callable[[], object]) -> None:
        """Do it on every rank; where any cannot, all know, and nothing is left of the attempt."""

        def attempt() -> None:
            self._check()
            try:
                with self._session.comm.busy("writing a checkpoint"):
                    work()
            except OSError as error:
                raise NotWritten(f"no checkpoint: {error.filename or self._partial} cannot be written "
                                 f"({error.strerror or error}); make room, or another --run-dir, and go on from the last good "
                                 "checkpoint with --resume") from None

        try:
            run_on_all(self._session.comm, attempt, NotWritten)
        except NotWritten:
            self._check()  # else it may be another job's attempt that lies there
            if self._world.is_root:
                shutil.rmtree(self._partial, ignore_errors=True)
            raise


def variables_of(session: "Session") -> list[list]:
    """Name and shape of everything that the model holds; Keras counts names on within a process, so only shapes compare."""
    model = session.learner.flat.keras_model
    return [[variable.path, list(variable.shape)] for variable in (*model.trainable_variables, *model.non_trainable_variables)]


def _make(partial: Path) -> None:
    for left_over in partial.parent.glob("*.partial"):  # of a writer that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)


def _write_own(partial: Path, rank: int, what: Taken) -> None:
    prefix = own_prefix(rank)
    write_json(partial / f"{prefix}json", {
        "own": write_vectors(partial, prefix, what.own), "exact": write_vectors(partial, f"{prefix}exact.", what.exact),
        "loss_sum": what.loss_sum,
    })


def _put_in_place(partial: Path, final: Path, keep: int) -> None:
    sync_folder(partial)
    if final.exists():  # another run's, or one that could not be used
        set_aside(final)
    os.replace(partial, final)
    sync_folder(final.parent)
    before = [path for path in checkpoints(final.parent) if step_of(path) < step_of(final)]
    for old in before[keep - 1 :]:
        going = old.with_name(f"{old.name}.partial")  # a writer that is killed here leaves nothing with a good name
        with contextlib.suppress(OSError):
            os.replace(old, going)
        shutil.rmtree(going, ignore_errors=True)


def set_aside(path: Path) -> Path | None:
    """Give a checkpoint that is of no use to the run another name, and return that; its files stay as they are.

    None where it cannot be moved, or is seen by other ranks only.
    """
    aside = (path.with_name(f"unusable-{path.name}{f'-{count}' * (count > 1)}") for count in itertools.count(1))
    other = next(other for other in aside if not other.exists())
    try:
        os.replace(path, other)
    except OSError:
        return None
    return other
