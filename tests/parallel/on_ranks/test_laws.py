"""The laws of averaging: ranks together against one process with the same samples, or the same ranks with each other."""

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.averaging.gradient import Gradient
from hvd_ae.averaging.proof import checksum
from hvd_ae.collectives.agree import broadcast_text, same_on_all
from hvd_ae.collectives.single import SingleEngine
from hvd_ae.config import WAY_SETTINGS, TrainSettings
from hvd_ae.errors import OutOfStep, Refused
from hvd_ae.training import pace
from hvd_ae.training.checkpoint import save
from hvd_ae.training.loop import Loop
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import prepare, steps_per_epoch, trainers
from hvd_ae.training.resume import restore_newest
from tests.parallel.on_ranks.training import SETTINGS, alone, parameters, reference, train

ALL_KEPT = ("contiguous", "strided", "shuffled", "label-skew")
NORMALISED = "tests.parallel.on_ranks.models:normalised"
STATEFUL = "tests.parallel.on_ranks.models:with_state"

pytestmark = pytest.mark.jobs("mpi-3")
BOTH = pytest.mark.jobs("mpi-3", "horovod-2")
ON_TWO = pytest.mark.jobs("mpi-2")
ON_TWO_OF_BOTH = pytest.mark.jobs("mpi-2", "horovod-2")


def through_both(*parameters):
    """Parameters of a test whose others run through MPI only."""
    return pytest.param(*parameters, marks=BOTH)


def assert_same_bytes(collectives, prepared):
    sums = np.array([checksum(vector) for vector in prepared.way.shared_vectors().values()], np.int64)
    assert same_on_all(collectives, sums)


@BOTH
def test_samples_do_not_divide(collectives):
    """Else laws 1, 2 and 7 would say little about unequal parts."""
    assert prepare(settings(), collectives).source.train.count == 107


@pytest.mark.parametrize("optimizer", [through_both("sgd"), "momentum", through_both("adam")])
def test_law_1_ranks_times_batch_is_one_large_batch(collectives, optimizer):
    rate = 0.01 if optimizer == "adam" else 0.5
    options = {"optimizer": optimizer, "learning_rate": rate}
    together, reports = train(collectives, batch_size=6, **options)
    single, expected = alone(batch_size=6 * collectives.world.size, **options)
    start = prepare(settings(), SingleEngine())
    moved = np.abs(parameters(single) - parameters(start)).max()
    np.testing.assert_allclose(parameters(together), parameters(single), atol=1e-4 * max(moved, 0.01))
    for ours, theirs in zip(reports, expected, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
        assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-4)
        assert ours.samples == theirs.samples


@pytest.mark.parametrize("partition", ["contiguous", "label-skew", through_both("reshuffled")])
def test_law_2_sgd_with_parameters_averaged_every_step_is_gradient_averaging(collectives, partition):
    by_gradient, _ = reference(collectives, partition=partition)
    by_parameter, _ = train(collectives, partition=partition, averaging="parameter", sync_every=1)
    np.testing.assert_allclose(parameters(by_parameter), parameters(by_gradient), atol=2e-6)


@pytest.mark.parametrize("slots", [through_both("keep"), "average", "reset"])
def test_law_3_ranks_hold_the_same_bytes_after_an_average(collectives, slots):
    # 4 steps: the last period is cut short, and settled all the same
    prepared, reports = train(collectives, averaging="parameter", sync_every=4, slots=slots, optimizer="adam",
                              learning_rate=0.01)
    assert_same_bytes(collectives, prepared)
    assert all(report.in_sync is True for report in reports)
    if collectives.world.size > 1:
        assert reports[0].drift > 0  # data differ by rank, so the ranks did drift apart in between
    momentum = prepared.replica.slots[0].numpy()
    same = same_on_all(collectives, np.array([checksum(tf.constant(momentum))], np.int64))
    assert same == (slots != "keep" or collectives.world.size == 1)
    if slots == "reset":
        assert not momentum.any()


def test_law_3_without_averaging_ranks_do_differ(collectives):
    prepared, reports = train(collectives, averaging="none")
    same = same_on_all(collectives, np.array([checksum(prepared.replica.vector)], np.int64))
    assert same == (collectives.world.size == 1)
    assert reports[-1].in_sync is None


@pytest.mark.parametrize("partition", ["contiguous", through_both("label-skew")])
def test_law_7_means_are_means_over_samples(collectives, partition):
    """One epoch at a learning rate that moves nothing: the mean loss is that of all samples, whoever holds them."""
    _, [ours] = train(collectives, partition=partition, epochs=1, learning_rate=1e-12)
    _, [theirs] = alone(epochs=1, learning_rate=1e-12, batch_size=1000)
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-5)
    assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-5)


def test_fewer_validation_samples_than_ranks(collectives):
    _, [ours] = train(collectives, data="synthetic:19x4x5", epochs=1, learning_rate=1e-12)  # one validation sample
    _, [theirs] = alone(data="synthetic:19x4x5", epochs=1, learning_rate=1e-12)
    assert ours.val_mse == pytest.approx(theirs.val_mse, rel=1e-5)


@BOTH
def test_batch_normalisation_and_dropout(collectives):
    """Moving statistics are averaged over samples; dropout's seeds are each rank's own; an empty batch harms nothing."""
    prepared, reports = train(collectives, model=NORMALISED, batch_size=2, partition="contiguous")
    assert_same_bytes(collectives, prepared)
    assert np.isfinite(prepared.replica.buffers.numpy()).all()
    assert np.isfinite([report.val_mse for report in reports]).all()
    seeds = collectives.all_gather(prepared.replica.counters[0].numpy().astype(np.int64)).numpy()
    assert len(set(map(tuple, seeds.reshape(collectives.world.size, -1)))) == collectives.world.size


@ON_TWO
@pytest.mark.parametrize("changes", [
    pytest.param({"averaging": "gradient", "optimizer": "adam", "model": NORMALISED}, marks=ON_TWO_OF_BOTH),
    {"averaging": "gradient", "accumulate": 4},
    pytest.param({"averaging": "sharded", "optimizer": "adam"}, marks=ON_TWO_OF_BOTH),
    {"averaging": "parameter", "sync_every": 4, "optimizer": "adam", "model": NORMALISED, "partition": "shuffled"},
    {"averaging": "parameter", "sync_every": 4, "slots": "average", "outer_optimizer": "nesterov"},
    {"averaging": "post-local", "sync_every": 4, "outer_optimizer": "sgd", "outer_learning_rate": 0.3},
    {"averaging": "post-local", "sync_every": 4, "model": STATEFUL},
    {"averaging": "one-shot", "model": STATEFUL}, {"averaging": "hierarchical", "ranks_per_node": 1, "sync_every": 4},
    pytest.param({"averaging": "overlapped", "sync_every": 2, "optimizer": "adam", "model": NORMALISED,
                  "partition": "contiguous"}, marks=ON_TWO_OF_BOTH),
    {"averaging": "one-shot"}, {"averaging": "elastic", "sync_every": 4}, {"averaging": "gossip", "graph": "exponential"},
    {"averaging": "sequential", "sync_every": 1}, {"averaging": "none", "optimizer": "nadam"},
    pytest.param({"averaging": "server"}, marks=ON_TWO_OF_BOTH),
], ids=lambda changes: " ".join(map(str, changes.values())))
def test_law_4_a_resumed_run_equals_an_uninterrupted_one(collectives, tmp_path_factory, monkeypatch, changes):
    """Stopped in the middle of an epoch and of a period, and gone on by as many ranks: the same bits."""
    monkeypatch.setattr(pace, "_STEPS_PER_CALL", 1)
    folder = shared_folder(collectives, tmp_path_factory)
    changes = {"learning_rate": 0.01, "proof_every": 2, "epochs": 2, **changes}
    whole, reports = train(collectives, **changes)
    per_epoch = steps_per_epoch(107, 6, trainers(settings(**changes), collectives.world).size)
    stopped_at(per_epoch + 2, folder, collectives, changes)
    resumed = prepare(settings(**changes), collectives)
    found = restore_newest(resumed, folder)
    assert found.position.step == per_epoch + 2 and not found.bad
    resumed_reports = [p.report for p in Loop(resumed, found.position).run() if p.report]
    resumed.way.close()
    for name, vector in whole.way.vectors.items():
        np.testing.assert_array_equal(resumed.way.vectors[name].numpy(), vector.numpy(), err_msg=name)
    for ours, theirs in zip(resumed_reports, reports[1:], strict=True):
        assert (ours.samples, ours.val_mse, ours.drift) == (theirs.samples, theirs.val_mse, theirs.drift)
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-12)


# each way with a partition, taken in turn: which samples are left is decided before a way sees any
EVERY_WAY = [{"averaging": way, "partition": partition} for way, partition in zip(
    (way for way in WAY_SETTINGS if way != "adasum"), cycle((*ALL_KEPT, "reshuffled")))]


@pytest.mark.ranks(3, 4)
@pytest.mark.parametrize("changes", [
    *EVERY_WAY, {"averaging": "server", "server": "async"},
    {"averaging": "parameter", "model": NORMALISED, "optimizer": "adam", "slots": "keep"},
], ids=lambda changes: " ".join(changes.values()))
def test_law_4_another_number_of_ranks_repeats_and_loses_no_sample(collectives, tmp_path_factory, monkeypatch, changes):
    """At a learning rate that moves nothing, the epoch's mean loss tells whether each sample counted once.

    Three ranks stop in the middle of an epoch, two go on and stop again, and three end it with another batch.
    """
    monkeypatch.setattr(pace, "_STEPS_PER_CALL", 1)
    folder, size = shared_folder(collectives, tmp_path_factory), collectives.world.size
    fewer = size - 1
    changes = {"learning_rate": 1e-12, "epochs": 1, **changes}
    changes |= {"hierarchical": {"ranks_per_node": 1}, "sequential": {"sync_every": 1}, "overlapped": {"sync_every": 1},
                "post-local": {"local_after": 0}}.get(changes["averaging"], {})
    stopped_at(2, folder, collectives, changes)

    groups = collectives.split([list(range(fewer)), [fewer]])
    if collectives.world.rank < fewer:  # the first ranks go on, and stop again; one rank is left out
        stopped_at(3, folder, groups, changes)
    collectives.barrier()
    resumed = prepare(settings(**{**changes, "batch_size": 5}), collectives)  # all ranks again, with another batch
    found = restore_newest(resumed, folder)
    [report] = [p.report for p in Loop(resumed, found.position).run() if p.report]
    resumed.way.close()
    assert (report.epoch, report.samples) == (1, 107)
    if changes.get("model") != NORMALISED:  # its dropout draws other masks
        _, [expected] = alone(learning_rate=1e-12, epochs=1, batch_size=1000)
        assert report.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
        assert report.val_mse == pytest.approx(expected.val_mse, rel=1e-5)


@pytest.mark.ranks(2, 3, 4)
def test_parts_of_slots_are_put_together_for_another_number_of_ranks(collectives, tmp_path_factory, monkeypatch):
    """`sharded` gone on from by fewer ranks stays what `gradient` is, which has its slots in one piece."""
    monkeypatch.setattr(pace, "_STEPS_PER_CALL", 1)
    fewer, ends = collectives.world.size - 1, []
    groups = collectives.split([list(range(fewer)), [fewer]])
    for averaging in ("gradient", "sharded"):
        folder = shared_folder(collectives, tmp_path_factory)
        changes = {"averaging": averaging, "optimizer": "adam", "learning_rate": 0.01}
        stopped_at(5, folder, collectives, changes)
        if collectives.world.rank < fewer:
            resumed = prepare(settings(**changes), groups)
            for _ in Loop(resumed, restore_newest(resumed, folder).position).run():
                pass
            ends.append(parameters(resumed))
        collectives.barrier()
    if ends:
        np.testing.assert_allclose(ends[0], ends[1], atol=2e-5)


def stopped_at(step, folder, collectives, changes):
    """Go on from the folder's newest checkpoint up to this step of the run, as if a signal had come, and save."""
    prepared = prepare(settings(**changes), collectives)
    found = restore_newest(prepared, folder)
    loop = Loop(prepared, found.position, lambda: "a signal" if loop.position.step >= step else None)
    for _ in loop.run():
        pass
    assert loop.stopped and loop.position.step == step
    save(prepared, loop.position, folder, keep=5)
    prepared.way.close()


@ON_TWO
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(collectives, tmp_path_factory):
    folder = shared_folder(collectives, tmp_path_factory)
    prepared = prepare(settings(epochs=2, optimizer="adam"), collectives)
    loop = Loop(prepared, Position())
    for progress in loop.run():
        if progress.report:
            save(prepared, progress.position, folder, keep=2)
    newest = sorted(folder.iterdir())[-1]
    if collectives.world.is_root:
        content = bytearray((newest / "parameters.npy").read_bytes())
        content[-5] ^= 1
        (newest / "parameters.npy").write_bytes(content)
    collectives.barrier()
    found = restore_newest(prepared, folder)
    assert found.position.epoch == 1 and len(found.bad) == 1
    assert "parameters.npy" in found.bad[0]


@ON_TWO
def test_a_checkpoint_of_other_settings_is_refused(collectives, tmp_path_factory):
    folder = shared_folder(collectives, tmp_path_factory)
    prepared = prepare(settings(epochs=1), collectives)
    save(prepared, Position(step=1), folder, keep=1)
    other = prepare(settings(epochs=1, optimizer="adam"), collectives)
    with pytest.raises(Refused, match="optimizer='sgd', but now optimizer='adam'"):
        restore_newest(other, folder)
    other = prepare(settings(epochs=1, data="synthetic:118x5x4"), collectives)
    with pytest.raises(Refused, match="other data"):
        restore_newest(other, folder)


@BOTH
@pytest.mark.ranks(2, 3, 4)
def test_the_proof_names_the_rank_that_differs(collectives, monkeypatch):
    """A single bit on a single rank, put there behind the averaging's back."""
    odd = collectives.world.size - 1
    prepared = prepare(settings(epochs=1, proof_every=2), collectives)
    original = Gradient.step

    def with_a_fault(self, batch):
        loss_sum = original(self, batch)
        if collectives.world.rank == odd:
            self.replica.vector.assign(tf.tensor_scatter_nd_add(self.replica.vector, [[7]], [1e-6]))
        return loss_sum

    monkeypatch.setattr(Gradient, "step", with_a_fault)
    with pytest.raises(OutOfStep) as failure:
        for _ in Loop(prepared, Position()).run():
            pass
    assert "at step 1" in str(failure.value) or "at step 2" in str(failure.value)
    if collectives.world.size > 2:
        assert f"rank {odd} of {collectives.world.size}" in str(failure.value)


def settings(**changes) -> TrainSettings:
    return TrainSettings(**{**SETTINGS, **changes}).effective()


def shared_folder(collectives, tmp_path_factory):
    """One folder for all ranks, made by the root."""
    own = str(tmp_path_factory.mktemp("checkpoints")) if collectives.world.is_root else ""
    return Path(broadcast_text(collectives, own))
