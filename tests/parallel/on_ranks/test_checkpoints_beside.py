"""Checkpoints within epochs, written by a thread while training goes on: nothing of the training changes by them."""

import json
import threading

import numpy as np
import pytest

from hvd_ae.errors import NotWritten
from hvd_ae.runs.checkpoints import Checkpoints
from hvd_ae.runs.folder import RunFolder
from hvd_ae.training import execution
from hvd_ae.training.checkpointing import background
from hvd_ae.training.checkpointing.names import checkpoints, newest_step
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import NORMALISED, shared_folder
from tests.parallel.on_ranks.training import settings, train

pytestmark = [pytest.mark.ranks(2), pytest.mark.jobs("mpi-2")]
BESIDE = {"checkpoint_minutes": 1e-9, "checkpoint_in_background": True, "keep_checkpoints": 100}


@pytest.mark.parametrize("changes", [
    {"averaging": "overlapped", "sync_every": 2, "optimizer": "adam"},
    *(pytest.param(changes, marks=pytest.mark.soak) for changes in (
        {"averaging": "gradient", "accumulate": 4, "optimizer": "adam", "model": NORMALISED},
        {"averaging": "parameter", "sync_every": 4, "optimizer_state": "average", "outer_optimizer": "nesterov"},
        {"averaging": "server"})),
], ids=lambda changes: changes["averaging"])
def test_a_run_is_what_it_is_without_them_and_goes_on_from_each(comm, tmp_path_factory, monkeypatch, changes):
    """Within periods too; each written on while the next steps change what it holds."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder = RunFolder(shared_folder(comm, tmp_path_factory))
    changes = {"learning_rate": 0.01, "check_every": 2, "epochs": 2, **changes}
    whole, _ = train(comm, **changes)
    slow = threading.Event()
    monkeypatch.setattr(background.Background, "_write", slowly(background.Background._write, slow))
    with Session(settings(**changes, **BESIDE), comm, callbacks=[Checkpoints(folder)]) as session:
        session.run()
    assert_same_state(session, whole)
    steps = sorted(map(newest_of, checkpoints(folder.checkpoints)))
    middle = steps[len(steps) // 3]
    assert len(steps) > 3 and middle % (session.steps_per_epoch or 1)
    comm.barrier()
    if comm.world.is_root:  # the others are newer, or older
        for path in checkpoints(folder.checkpoints):
            if newest_of(path) > middle:
                path.rename(path.with_name(f"other-{path.name}"))
    comm.barrier()
    with Session(settings(**changes), comm) as resumed:
        assert restore_newest(resumed, folder.checkpoints).cursor.step == middle == newest_step(folder.checkpoints)
        resumed.run()
    assert_same_state(resumed, whole)


def newest_of(path) -> int:
    return json.loads((path / "manifest.json").read_text())["content"]["position"]["step"]


def slowly(write, event: threading.Event):
    def written(self) -> None:
        event.wait(0.05)  # some steps long
        write(self)

    return written


def assert_same_state(session, whole) -> None:
    for name, (vector, *_) in whole.strategy.state.items():
        np.testing.assert_array_equal(session.strategy.state[name].variable.numpy(), vector.numpy(), err_msg=name)


def test_where_one_rank_cannot_write_all_end_and_older_ones_stay(comm, tmp_path_factory, monkeypatch):
    folder = RunFolder(shared_folder(comm, tmp_path_factory))
    original, calls = background.Writing.write_alone, []

    def fails_once(self) -> None:
        calls.append(self.path)
        if comm.world.rank == 1 and len(calls) == 2:
            raise OSError(28, "No space left on device", "somewhere")
        original(self)

    monkeypatch.setattr(background.Writing, "write_alone", fails_once)
    with (pytest.raises(NotWritten, match="no checkpoint: somewhere cannot be written .No space left"),
          Session(settings(epochs=4, checkpoint_in_background=True), comm, callbacks=[Checkpoints(folder)]) as session):
        session.run()
    comm.barrier()
    assert [path.name for path in folder.checkpoints.iterdir()] == [calls[0].name]


def test_without_memory_for_a_copy_they_are_written_at_once(comm, tmp_path_factory, monkeypatch):
    folder, begun = RunFolder(shared_folder(comm, tmp_path_factory)), []
    monkeypatch.setattr(background, "free_bytes", lambda: 1000 if comm.world.rank == 1 else 1 << 40)
    monkeypatch.setattr(background.Background, "_write", lambda self: begun.append(self))
    with Session(settings(epochs=2, checkpoint_in_background=True), comm, callbacks=[Checkpoints(folder)]) as session:
        session.run()
    assert not begun and len(checkpoints(folder.checkpoints)) == 2
