"""What is saved and gone on from, in numbers: momentum, outer vectors, seeds, rates, on other ranks or with another batch."""

import os
import signal
from collections import Counter

import numpy as np
import pytest

from hvd_ae.api import train as train_whole
from hvd_ae.averaging.gradient import Gradient
from hvd_ae.errors import OutOfSync, Stopped
from hvd_ae.runtime.consensus import gather_texts
from hvd_ae.training import execution
from hvd_ae.training.checkpointing import reshard
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import checkpoints
from hvd_ae.training.session import Session, steps_per_epoch
from tests.parallel.on_ranks.test_laws import NORMALISED, shared_folder, stopped_at
from tests.parallel.on_ranks.training import alone, parameters, settings


@pytest.fixture(autouse=True)
def short_calls(monkeypatch):
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)


@pytest.mark.jobs("mpi-2", "horovod-2")
@pytest.mark.ranks(2, 3, 4)
def test_ranks_that_went_apart_since_the_last_check_are_not_saved(comm, tmp_path_factory, monkeypatch):
    """One number of one rank, changed in mid-epoch, and a signal in the same step: status 3, and nothing new is saved."""
    folder, world = shared_folder(comm, tmp_path_factory), comm.world

    def apart_and_signalled(self, step, seconds):
        if step == per_epoch + 2 and world.rank == world.size - 1:
            self.learner.vector[3].assign(self.learner.vector[3] + 1e-6)
        if step == per_epoch + 2 and world.is_root:
            os.kill(os.getpid(), signal.SIGUSR1)

    per_epoch = steps_per_epoch(107, 6, world.size)
    given = settings(run_dir=str(folder), collectives=comm.name, stall_timeout=0)
    with monkeypatch.context() as patched:
        patched.setattr(Gradient, "after_call", apart_and_signalled)
        try:
            train_whole(given, comm)
            ended = None
        except (OutOfSync, Stopped) as error:
            ended = error
    assert isinstance(ended, OutOfSync) and ended.exit_status == 3, ended
    assert f"at step {per_epoch + 2} rank" in str(ended)
    assert [path.name for path in checkpoints(folder / "checkpoints")] == [f"step-{per_epoch:08d}"]


WARM_UP = {"lr_scaling": "linear", "warmup_epochs": 8.0, "learning_rate": 0.01, "epochs": 4}


def assert_warm(reports, ranks, updates):
    """The rate rises with the epochs that are done, whatever an epoch's updates; one update more or less is rounding."""
    for report in reports:
        risen = (report.learning_rate / 0.01 - 1) / (ranks - 1)
        assert risen == pytest.approx(report.epoch / 8, abs=1.5 / (8 * updates)), report.epoch


@pytest.mark.jobs("mpi-2")
@pytest.mark.ranks(2, 3, 4)  # on one rank the rate does not rise
@pytest.mark.parametrize("batch_size", [pytest.param(2, marks=pytest.mark.soak), 30])
def test_a_warm_up_goes_on_where_it_was_with_another_batch(comm, tmp_path_factory, batch_size):
    folder, ranks = shared_folder(comm, tmp_path_factory), comm.world.size
    stopped_at(steps_per_epoch(107, 6, ranks) + 2, folder, comm, WARM_UP)
    with Session(settings(**WARM_UP, batch_size=batch_size), comm) as resumed:
        restore_newest(resumed, folder)
        reports = resumed.run()
    assert [report.epoch for report in reports] == [2, 3, 4]
    assert_warm(reports, ranks, steps_per_epoch(107, batch_size, ranks))


def fewer_ranks(comm):
    """The first ranks but one, as a communicator of their own, on all of these; None on the last."""
    fewer = comm.world.size - 1
    groups = comm.split([list(range(fewer)), [fewer]])
    return groups if comm.world.rank < fewer else None


@pytest.mark.jobs("mpi-3")
@pytest.mark.ranks(3, 4)  # some of which are several too
def test_a_warm_up_goes_on_where_it_was_on_another_number_of_ranks(comm, tmp_path_factory):
    folder, reports = shared_folder(comm, tmp_path_factory), []
    stopped_at(steps_per_epoch(107, 6, comm.world.size) + 2, folder, comm, WARM_UP)
    if some := fewer_ranks(comm):
        with Session(settings(**WARM_UP), some) as resumed:
            restore_newest(resumed, folder)
            reports = resumed.run()
    comm.barrier()
    assert_warm(reports, comm.world.size - 1, steps_per_epoch(107, 6, comm.world.size - 1))


@pytest.mark.ranks(2, 3)  # these and one less divide 12
@pytest.mark.parametrize("changes", [
    pytest.param({"optimizer": "momentum", "learning_rate": 0.1}, marks=pytest.mark.soak),
    pytest.param({"optimizer": "adam", "learning_rate": 0.01}, marks=[pytest.mark.jobs("horovod-2"), pytest.mark.soak]),
    # its optimizer's state is put together and cut anew
    pytest.param({"averaging": "sharded", "optimizer": "adam", "learning_rate": 0.01}, marks=pytest.mark.jobs("mpi-3")),
    pytest.param({"averaging": "parameter", "sync_every": 1, "outer_optimizer": "nesterov", "learning_rate": 0.1},
                 marks=pytest.mark.jobs("mpi-2")),
], ids=lambda changes: " ".join(map(str, changes.values())))
def test_law_4_another_number_of_ranks_goes_on_as_one_process_would(comm, tmp_path_factory, changes):
    """The global batch of 12 stays: parameters are those of one process, which never stopped and kept its momentum."""
    size = comm.world.size
    folder, ended = shared_folder(comm, tmp_path_factory), None
    stopped_at(5, folder, comm, {**changes, "batch_size": 12 // size})
    if some := fewer_ranks(comm):
        with Session(settings(**changes, batch_size=12 // (size - 1)), some) as resumed:
            restore_newest(resumed, folder)
            resumed.run()
        ended = parameters(resumed)
    comm.barrier()
    if ended is not None:
        whole, start = alone(**changes, batch_size=12)[0], alone(epochs=1, steps=1, learning_rate=1e-9)[0]
        moved = np.abs(parameters(whole) - parameters(start)).max()
        np.testing.assert_allclose(ended, parameters(whole), atol=1e-3 * moved)


@pytest.mark.jobs("mpi-3")
@pytest.mark.ranks(2, 3, 4)
def test_own_vectors_are_read_once_and_come_out_as_promised_on_another_number_of_ranks(comm, tmp_path_factory,
                                                                                       monkeypatch):
    """The optimizer's are the mean of the old ranks', counts the largest, seeds the same rank's; outer vectors stay."""
    size, folder = comm.world.size, shared_folder(comm, tmp_path_factory)
    monkeypatch.setattr(reshard, "_BYTES_AT_ONCE", 100)  # so that a vector needs several
    changes = {"averaging": "parameter", "sync_every": 4, "outer_optimizer": "nesterov", "optimizer": "adam",
               "model": NORMALISED, "learning_rate": 0.01}
    stopped_at(5, folder, comm, changes)
    if some := fewer_ranks(comm):
        stopped_at(7, folder, some, changes)
    comm.barrier()
    _, older = checkpoints(folder)
    newer = checkpoints(folder)[0]
    _, _, few = read_and_taken(older, some, changes, monkeypatch) if some else (None, None, [])
    comm.barrier()
    read, world, many = read_and_taken(newer, comm, changes, monkeypatch)
    counted = Counter(name for text in gather_texts(comm, " ".join(read)) for name in text.split())
    own = [path.name for path in newer.glob("rank-*.npy") if ".exact." not in path.name]
    assert counted == Counter(own) and len(own) >= size - 1
    for taken, path, ranks in ((few, older, size), (many, newer, size - 1)):
        for name, value in taken:
            kept = [np.load(path / f"rank-{rank:05d}.{name}.npy") for rank in range(ranks)]
            if name.startswith("seed_"):
                expected = kept[world.rank] if world.rank < ranks else value
            elif kept[0].ndim:
                assert not ranks > 1 or not np.array_equal(kept[0], kept[1])
                expected = np.mean(kept, axis=0, dtype=np.float64).astype(np.float32)
            else:
                expected = max(kept, key=int)
            np.testing.assert_array_equal(value, expected, err_msg=f"{path.name} {name}")


def read_and_taken(path, comm, changes, monkeypatch):
    """The own files that this rank reads to go on from a checkpoint, and its own vectors after that."""
    only = path.parent / f"only-{path.name}"
    if comm.world.is_root:
        only.mkdir()
        (only / path.name).symlink_to(path)
    comm.barrier()
    read, original = [], reshard.read_vectors

    def noted(folder, prefix, sums):
        read.extend(f"{prefix}{name}.npy" for name in sums if prefix)
        return original(folder, prefix, sums)

    session = Session(settings(**changes), comm)
    with monkeypatch.context() as patched:
        patched.setattr(reshard, "read_vectors", noted)
        assert not restore_newest(session, only).bad
    velocity = np.load(path / "outer_velocity.npy")
    assert np.any(velocity)
    np.testing.assert_array_equal(session.strategy.state["outer_velocity"].variable, velocity)
    np.testing.assert_array_equal(session.strategy.state["outer_anchor"].variable, np.load(path / "outer_anchor.npy"))
    taken = [(name, value.numpy()) for name, value in session.strategy.rank_state().items()]
    return read, comm.world, taken
