"""The laws of averaging: ranks together against one process with the same samples, or the same ranks with each other."""

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.averaging.gradient import Gradient
from hvd_ae.averaging.sync_check import checksum
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.errors import OutOfSync, Refused
from hvd_ae.runtime.consensus import broadcast_text, same_on_all
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.training import execution
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.training import alone, parameters, reference, settings, train, with_everything

ALL_KEPT = ("contiguous", "strided", "shuffled", "label-skew")
NORMALISED = "tests.parallel.on_ranks.models:normalised"

SOAK, ON_TWO = pytest.mark.soak, pytest.mark.jobs("mpi-2")
ON_THREE, THROUGH_BOTH = pytest.mark.jobs("mpi-3", "horovod-2"), pytest.mark.jobs("mpi-2", "horovod-2")
pytestmark = ON_TWO


def on_three(*parameters):
    """Parameters that show a law on unequal parts and through both engines; others run on two ranks through MPI."""
    return pytest.param(*parameters, marks=ON_THREE)


def assert_same_bytes(comm, session):
    sums = np.array([checksum(vector) for vector in session.strategy.replicated_state().values()], np.int64)
    assert same_on_all(comm, sums)


@ON_THREE
def test_samples_do_not_divide(comm):
    """Else laws 1, 2 and 7 would say little about unequal parts."""
    assert Session(settings(), comm).source.train.count == 107


@pytest.mark.parametrize("optimizer", [on_three("sgd"), "momentum", "adam"])
def test_law_1_ranks_times_batch_is_one_large_batch(comm, optimizer):
    rate = 0.01 if optimizer == "adam" else 0.5
    options = {"optimizer": optimizer, "learning_rate": rate}
    together, reports = train(comm, batch_size=6, **options)
    single, expected = alone(batch_size=6 * comm.world.size, **options)
    start = Session(settings(), SingleCommunicator())
    moved = np.abs(parameters(single) - parameters(start)).max()
    np.testing.assert_allclose(parameters(together), parameters(single), atol=1e-4 * max(moved, 0.01))
    for ours, theirs in zip(reports, expected, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
        assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-4)
        assert ours.samples == theirs.samples


@pytest.mark.parametrize("optimizer, rate, optimizer_settings", [
    pytest.param("lamb", 0.02, "weight_decay=0.1,decay_vectors=false", marks=ON_TWO),
    *(pytest.param(*each, marks=SOAK) for each in (
        ("lamb", 0.02, "weight_decay=0.1"), ("lars", 5.0, "trust=0.02"),
        ("adamw", 0.02, "weight_decay=0.1,decay_vectors=false")))])
def test_law_1_where_each_rank_knows_only_pieces_of_layers(comm, optimizer, rate, optimizer_settings):
    """Parts begin and end within layers here, whose norms, or what is not to decay, the optimizer has to know."""
    options = {"optimizer": optimizer, "learning_rate": rate, "optimizer_settings": optimizer_settings}
    together, _ = train(comm, batch_size=6, averaging="sharded", **options)
    single, _ = alone(batch_size=6 * comm.world.size, **options)
    assert np.abs(parameters(single) - parameters(Session(settings(), SingleCommunicator()))).max() > 0.05
    np.testing.assert_allclose(parameters(together), parameters(single), atol=2e-5)
    assert_same_bytes(comm, together)


@pytest.mark.parametrize("partition", ["contiguous", pytest.param("label-skew", marks=SOAK), on_three("reshuffled")])
def test_law_2_sgd_with_parameters_averaged_every_step_is_gradient_averaging(comm, partition):
    by_gradient, _ = reference(comm, partition=partition)
    by_parameter, _ = train(comm, partition=partition, averaging="parameter", sync_every=1)
    np.testing.assert_allclose(parameters(by_parameter), parameters(by_gradient), atol=2e-6)


@pytest.mark.parametrize("optimizer_state", [on_three("keep"), "average", pytest.param("reset", marks=SOAK)])
def test_law_3_ranks_hold_the_same_bytes_after_an_average(comm, optimizer_state):
    # 4 steps: the last period is cut short, and ends with an average all the same
    session, reports = train(comm, averaging="parameter", sync_every=4, optimizer_state=optimizer_state, optimizer="adam",
                             learning_rate=0.01)
    assert_same_bytes(comm, session)
    assert all(report.in_sync is True for report in reports)
    if comm.world.size > 1:
        assert reports[0].drift > 0  # data differ by rank, so the ranks did drift apart in between
    momentum = session.learner.optimizer_state[0].numpy()
    same = same_on_all(comm, np.array([checksum(tf.constant(momentum))], np.int64))
    assert same == (optimizer_state != "keep" or comm.world.size == 1)
    if optimizer_state == "reset":
        assert not momentum.any()


def test_law_3_without_averaging_ranks_do_differ(comm):
    session, reports = train(comm, averaging="none")
    same = same_on_all(comm, np.array([checksum(session.learner.vector)], np.int64))
    assert same == (comm.world.size == 1)
    assert reports[-1].in_sync is None


@pytest.mark.parametrize("partition", ["contiguous", on_three("label-skew")])
def test_law_7_means_are_means_over_samples(comm, partition):
    """One epoch at a learning rate that moves nothing: the mean loss is that of all samples, whoever holds them."""
    _, [ours] = train(comm, partition=partition, epochs=1, learning_rate=1e-12)
    _, [theirs] = alone(epochs=1, learning_rate=1e-12, batch_size=1000)
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
    assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-5)


def test_fewer_validation_samples_than_ranks(comm):
    _, [ours] = train(comm, data="synthetic:19x4x5", epochs=1, learning_rate=1e-12)  # one validation sample
    _, [theirs] = alone(data="synthetic:19x4x5", epochs=1, learning_rate=1e-12)
    assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-5)


@ON_THREE
def test_batch_normalisation_and_dropout(comm):
    """Moving statistics are averaged over samples; dropout's seeds are each rank's own; an empty batch harms nothing."""
    # of three ranks the last has 35 samples, and none in the eighth step
    session, reports = train(comm, model=NORMALISED, batch_size=5, partition="contiguous")
    assert_same_bytes(comm, session)
    assert np.isfinite(session.learner.buffers.numpy()).all()
    assert np.isfinite([report.val_mse for report in reports]).all()
    seeds = comm.all_gather(session.learner.counters[0].numpy().astype(np.int64)).numpy()
    assert len(set(map(tuple, seeds.reshape(comm.world.size, -1)))) == comm.world.size


def resumed(averaging, **changes):
    """One of the cases of a resumption: through Horovod too where an operation of its own is under way beside the loop."""
    marks = [THROUGH_BOTH if averaging == "overlapped" else ON_TWO]
    if changes.get("outer_optimizer") == "nesterov":
        marks.append(SOAK)
    if averaging == "server":
        marks.append(pytest.mark.ranks(2, 3, 4))
    return pytest.param({"averaging": averaging, **changes}, marks=marks)


@pytest.mark.parametrize("changes", [
    # the period of adaptive depends on what was measured since it was last chosen, which no checkpoint holds
    *(resumed(name) for name in STRATEGIES if name != "adaptive"),
    resumed("parameter", sync_every=4, optimizer_state="average", outer_optimizer="nesterov"),
    resumed("post-local", sync_every=4, outer_optimizer="sgd", outer_learning_rate=0.3),
], ids=lambda changes: " ".join(map(str, changes.values())))
def test_law_4_a_resumed_run_equals_an_uninterrupted_one(comm, changes):
    """From a checkpoint within an epoch and a period, as many ranks go on to the same bits."""
    trained = with_everything(comm, **changes)
    assert any(np.any(vector) for vector in trained.state.values())
    for name, (vector, *_) in trained.session.strategy.state.items():
        np.testing.assert_array_equal(vector.numpy(), trained.state[name], err_msg=name)
    for ours, theirs in zip(trained.later, trained.reports[1:], strict=True):
        assert (ours.samples, ours.val_mse, ours.drift) == (theirs.samples, theirs.val_mse, theirs.drift)
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-12)


# each strategy with a partition, taken in turn: which samples are left is decided before a strategy sees any
EVERY_STRATEGY = [{"averaging": strategy, "partition": partition} for strategy, partition in zip(
    (strategy for strategy in STRATEGIES if strategy != "adasum"), cycle((*ALL_KEPT, "reshuffled")))]


def where_cheapest(changes):
    """From two ranks to one, but for strategies whose state is cut or kept by ranks, which need several afterwards too."""
    return pytest.param(changes, marks=pytest.mark.jobs("mpi-3") if changes["averaging"] in ("sharded", "server") else ())


STOP_TWICE = ("gradient", "parameter", "server")


@pytest.mark.ranks(2, 3, 4)
@pytest.mark.parametrize("changes", [
    *map(where_cheapest, [*EVERY_STRATEGY, {"averaging": "server", "server": "async"}]),
    pytest.param({"averaging": "parameter", "model": NORMALISED, "optimizer": "adam", "optimizer_state": "keep"},
                 marks=SOAK),
], ids=lambda changes: " ".join(changes.values()))
def test_law_4_another_number_of_ranks_repeats_and_loses_no_sample(comm, tmp_path_factory, monkeypatch, changes):
    """At a learning rate that moves nothing, the epoch's mean loss tells whether each sample counted once.

    All ranks stop in the middle of an epoch, and one fewer end it with another batch; of some strategies these stop again,
    and all end it.
    """
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder, size = shared_folder(comm, tmp_path_factory), comm.world.size
    fewer = size - 1
    changes = {"learning_rate": 1e-12, "epochs": 1, **changes}
    changes |= {"hierarchical": {"ranks_per_node": 1}, "sequential": {"sync_every": 1}, "overlapped": {"sync_every": 1},
                "post-local": {"local_after": 0}}.get(changes["averaging"], {})
    stopped_at(2, folder, comm, changes)

    groups, last = comm.split([list(range(fewer)), [fewer]]), comm
    goes_on = comm.world.rank < fewer  # one rank is left out
    if changes["averaging"] not in STOP_TWICE:
        last = groups
    elif goes_on:
        stopped_at(3, folder, groups, changes)
    comm.barrier()
    if last is comm or goes_on:
        with Session(settings(**{**changes, "batch_size": 5}), last) as resumed:
            restore_newest(resumed, folder)
            [report] = resumed.run()
    comm.barrier()
    if last is groups and not goes_on:
        return
    assert (report.epoch, report.samples) == (1, 107)
    if changes.get("model") != NORMALISED:  # its dropout draws other masks
        _, [expected] = alone(learning_rate=1e-12, epochs=1, batch_size=1000)
        assert report.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
        assert report.val_mse == pytest.approx(expected.val_mse, rel=1e-5)


def stopped_at(step, folder, comm, changes):
    """Go on from the folder's newest checkpoint up to this step of the run, as if a signal had come, and save."""
    with Session(settings(**changes), comm) as session:
        restore_newest(session, folder)
        session.run(lambda: "a signal" if session.cursor.step >= step else None)
        assert session.stopped_by == "a signal" and session.cursor.step == step
        save(session, folder, keep=5)


class SavesEachEpoch(Callback):
    def __init__(self, folder):
        self._folder = folder

    def on_epoch(self, session, record):
        save(session, self._folder, keep=2)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(comm, tmp_path_factory):
    folder = shared_folder(comm, tmp_path_factory)
    session = Session(settings(epochs=2, optimizer="adam"), comm, callbacks=[SavesEachEpoch(folder)])
    session.run()
    newest = sorted(folder.iterdir())[-1]
    if comm.world.is_root:
        content = bytearray((newest / "parameters.npy").read_bytes())
        content[-5] ^= 1
        (newest / "parameters.npy").write_bytes(content)
    comm.barrier()
    found = restore_newest(session, folder)
    assert found.cursor.epoch == 1 and len(found.bad) == 1
    assert "parameters.npy" in found.bad[0]


def test_a_checkpoint_of_other_settings_is_refused(comm, tmp_path_factory):
    folder = shared_folder(comm, tmp_path_factory)
    session = Session(settings(epochs=1), comm)
    session.cursor = Cursor(step=1)
    save(session, folder, keep=1)
    other = Session(settings(epochs=1, optimizer="adam"), comm)
    with pytest.raises(Refused, match="optimizer='sgd', but now optimizer='adam'"):
        restore_newest(other, folder)
    other = Session(settings(epochs=1, data="synthetic:118x5x4"), comm)
    with pytest.raises(Refused, match="other data"):
        restore_newest(other, folder)


@ON_THREE
@pytest.mark.ranks(2, 3, 4)
def test_the_check_names_the_rank_that_differs(comm, monkeypatch):
    """A single bit on a single rank, put there behind the averaging's back."""
    odd = comm.world.size - 1
    session = Session(settings(epochs=1, check_every=2), comm)
    original = Gradient.step

    def with_a_fault(self, batch):
        loss_sum = original(self, batch)
        if comm.world.rank == odd:
            self.learner.vector.assign(tf.tensor_scatter_nd_add(self.learner.vector, [[7]], [1e-6]))
        return loss_sum

    monkeypatch.setattr(Gradient, "step", with_a_fault)
    with pytest.raises(OutOfSync) as failure:
        session.run()
    assert "at step 1" in str(failure.value) or "at step 2" in str(failure.value)
    if comm.world.size > 2:
        assert f"rank {odd} of {comm.world.size}" in str(failure.value)


def shared_folder(comm, tmp_path_factory):
    """One folder for all ranks, made by the root."""
    own = str(tmp_path_factory.mktemp("checkpoints")) if comm.world.is_root else ""
    return Path(broadcast_text(comm, own))
