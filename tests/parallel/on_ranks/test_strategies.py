"""Each averaging strategy against what it has to equal, on ranks whose data differ."""

import dataclasses
import math
import time

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.learner import Learner
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.training import SETTINGS, alone, parameters, reference, settings, train, with_everything

ADAM = {"optimizer": "adam", "learning_rate": 0.01}

pytestmark = pytest.mark.jobs("mpi-2")
BOTH = pytest.mark.jobs("mpi-2", "horovod-2")
# where a rank has more than one other, or parts are no halves
THREE, THREE_AND_BOTH = pytest.mark.jobs("mpi-3"), pytest.mark.jobs("mpi-3", "horovod-2")
POWERS_OF_TWO = pytest.mark.jobs("mpi-4", "horovod-2")
# one for each of an engine's operations in a graph; the others use the same
THROUGH_EITHER = ("gradient", "sharded", "overlapped", "hierarchical", "gossip")


def result(session) -> np.ndarray:
    return session.strategy.result[0].numpy()


def same(ours, theirs, atol=3e-6):
    np.testing.assert_allclose(result(ours), result(theirs), atol=atol)


@pytest.mark.parametrize("changes", [pytest.param(ADAM, marks=THREE_AND_BOTH), {"clip_norm": 0.02}, {"accumulate": 4}],
                         ids=["adam", "clip", "accumulate"])
def test_sharded_is_gradient(comm, changes):
    ours, _ = train(comm, averaging="sharded", **changes)
    theirs, _ = reference(comm, averaging="gradient", **changes)
    same(ours, theirs, atol=2e-5)
    state = sum(vector.shape[0] for vector in ours.learner.optimizer_state)
    expected = sum(vector.shape[0] for vector in theirs.learner.optimizer_state) / comm.world.size
    assert abs(state - expected) <= 2  # a rank's part of momentum and of velocity


def test_accumulated_gradients_are_those_of_one_larger_batch(comm):
    # 107 samples are no multiple of either batch: the last update of an epoch holds what is left
    size = comm.world.size
    ours, _ = train(comm, accumulate=3, batch_size=4, partition="reshuffled")
    theirs, _ = alone(batch_size=12 * size, partition="reshuffled")
    same(ours, theirs, atol=1e-5)


@BOTH
def test_a_gradient_in_buckets_is_the_gradient(comm):
    ours, _ = train(comm, buckets=3, clip_norm=0.02, **ADAM)
    theirs, _ = reference(comm, clip_norm=0.02, **ADAM)
    assert len(ours.learner.flat.layout.buckets(3)) == 3
    same(ours, theirs, atol=2e-6)


def test_a_clipped_gradient_has_that_norm(comm):
    before = parameters(Session(settings(), comm))
    ours, _ = train(comm, steps=1, epochs=1, learning_rate=1.0, clip_norm=0.003)
    assert np.linalg.norm(parameters(ours) - before) == pytest.approx(0.003, rel=1e-3)


def test_post_local_that_never_leaves_its_first_phase_is_gradient(comm):
    ours, _ = train(comm, averaging="post-local", local_after=99, **ADAM)
    theirs, _ = reference(comm, averaging="gradient", **ADAM)
    same(ours, theirs)


def test_post_local_without_a_first_phase_is_parameter(comm):
    ours, _ = train(comm, averaging="post-local", local_after=0, sync_every=4, **ADAM)
    theirs, _ = reference(comm, averaging="parameter", sync_every=4, **ADAM)
    same(ours, theirs)


@pytest.mark.parametrize("partition", [
    pytest.param("reshuffled", marks=BOTH), pytest.param("contiguous", marks=[THREE, pytest.mark.soak])])
def test_hierarchical_on_one_node_is_gradient(comm, partition):
    ours, _ = train(comm, averaging="hierarchical", sync_every=4, partition=partition,
                    ranks_per_node=comm.world.size, **ADAM)
    theirs, _ = reference(comm, averaging="gradient", partition=partition, **ADAM)
    same(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("partition", ["reshuffled", pytest.param("contiguous", marks=[THREE, pytest.mark.soak])])
def test_hierarchical_with_one_rank_a_node_is_parameter(comm, partition):
    ours, _ = train(comm, averaging="hierarchical", sync_every=4, partition=partition, ranks_per_node=1)
    theirs, _ = reference(comm, averaging="parameter", sync_every=4, partition=partition)
    same(ours, theirs)


@pytest.mark.jobs("mpi-4")
@pytest.mark.ranks(4)
def test_hierarchical_on_two_nodes_of_two(comm):
    """With plain SGD and an average every step, two nodes of two are four ranks that average gradients."""
    ours, _ = train(comm, averaging="hierarchical", sync_every=1, ranks_per_node=2)
    theirs, _ = train(comm, averaging="gradient")
    same(ours, theirs)


@pytest.mark.jobs("mpi-4")
@pytest.mark.ranks(4)
def test_hierarchical_takes_the_nodes_that_mpi_reports(comm, monkeypatch):
    """Ranks dealt to two nodes in turn: sums inside a node are those of every other rank."""
    world = comm.world
    dealt = dataclasses.replace(world, node=world.rank % 2, nodes=2, local_rank=world.rank // 2, local_size=2)
    monkeypatch.setattr(comm, "world", dealt)
    strategy = Session(settings(averaging="hierarchical"), comm).strategy
    inside, across = (group.sum(np.array([10.0**world.rank])).numpy()[0] for group in (strategy.inside, strategy.across))
    assert inside == (101, 1010)[world.rank % 2]
    assert across == (11, 1100)[world.rank // 2]
    ours, _ = train(comm, averaging="hierarchical", sync_every=1)
    theirs, _ = train(comm, averaging="gradient")
    same(ours, theirs)


def test_hierarchical_refuses_nodes_of_different_size(comm):
    with pytest.raises(Refused, match="not a multiple of 5"):
        train(comm, averaging="hierarchical", ranks_per_node=5)


@pytest.mark.jobs("single-1")
@pytest.mark.ranks(1)
def test_a_server_needs_a_worker(comm):
    with pytest.raises(Refused, match="needs a rank for the server"):
        train(comm, averaging="server")


@THREE
@pytest.mark.ranks(2, 3, 4)
def test_server_that_aggregates_every_worker_is_gradient_on_the_workers(comm):
    workers = comm.world.size - 1
    ours, reports = train(comm, averaging="server", server="sync", **ADAM)
    theirs, expected = alone(batch_size=SETTINGS["batch_size"] * workers, **ADAM)
    same(ours, theirs, atol=2e-5)
    assert reports[-1].train_loss == pytest.approx(expected[-1].train_loss, rel=1e-4)
    assert reports[-1].val_mse == pytest.approx(expected[-1].val_mse, rel=1e-4)


@THREE
@pytest.mark.ranks(3, 4)
def test_server_that_waits_for_one_drops_stragglers_and_ends(comm):
    workers = comm.world.size - 1
    ours, reports = train(comm, averaging="server", aggregate=1)
    told = [report.of_strategy["gradients_applied"] + report.of_strategy["gradients_dropped"] for report in reports]
    if comm.world.is_root:
        # what is dropped and what is applied is what was sent: a gradient a step from every worker
        assert np.cumsum(told).tolist() == [report.step * workers for report in reports]
    assert np.isfinite(result(ours)).all()


@THREE_AND_BOTH
@pytest.mark.ranks(2, 3, 4)
def test_asynchronous_server_applies_every_gradient_exactly_once(comm, monkeypatch):
    """Counted, with workers slowed at random."""
    workers = comm.world.size - 1
    random, original = np.random.default_rng(comm.world.rank), Learner.gradient

    def slowly(self, batch, divisor):
        pause = tf.numpy_function(lambda: time.sleep(random.uniform(0, 0.01)) or np.int32(0), [], tf.int32)
        with tf.control_dependencies([pause]):
            return original(self, batch, divisor)

    monkeypatch.setattr(Learner, "gradient", slowly)
    ours, reports = train(comm, averaging="server", server="async")
    applied = sum(report.of_strategy["gradients_applied"] for report in reports)
    stalest = max(report.of_strategy["staleness_max"] or 0 for report in reports)
    assert all(report.in_sync for report in reports)
    if comm.world.is_root:
        assert applied == reports[-1].step * workers
        assert stalest == 0 if workers == 1 else 0 < stalest < 20 * workers
    start = result(Session(settings(), comm))
    assert np.abs(result(ours) - start).max() > 1e-3


@THREE
def test_gossip_on_the_complete_graph_is_parameters_averaged_every_step(comm):
    data = {"data": "synthetic:106x4x5"}  # 96 training samples: every rank has as many, for 1 to 4 ranks
    ours, _ = train(comm, averaging="gossip", graph="complete", **data)
    theirs, _ = reference(comm, averaging="parameter", sync_every=1, **data)
    assert ours.source.train.count == 96
    same(ours, theirs)


def spread(comm, vector) -> float:
    """The root of the summed squared distances of the ranks' vectors from their mean."""
    mean = comm.mean(vector)
    return math.sqrt(comm.sum(tf.reduce_sum(tf.square(vector - mean))[tf.newaxis]).numpy()[0])


def apart(comm, **changes):
    """A session whose ranks hold different parameters, and trained nothing yet."""
    session = Session(settings(**changes), comm)
    random = np.random.default_rng(comm.world.rank)
    session.learner.vector.assign(random.normal(size=session.learner.vector.shape).astype(np.float32))
    return session


@pytest.mark.jobs("mpi-3", "mpi-4", "horovod-2")
@pytest.mark.parametrize("graph", ["ring", "exponential", "complete"])
def test_gossip_contracts_as_its_mixing_matrix_says(comm, graph):
    size = comm.world.size
    session = apart(comm, averaging="gossip", graph=graph)
    rounds = 6
    start = comm.all_gather(session.learner.vector).numpy().reshape(size, -1).astype(np.float64)
    for _ in range(rounds):
        session.strategy.mix()
    mixed = comm.all_gather(session.learner.vector).numpy().reshape(size, -1)
    expected = start
    for round_ in range(rounds):
        expected = mixing_matrix(graph, size, round_) @ expected
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def mixing_matrix(graph: str, size: int, round_: int) -> np.ndarray:
    eye = np.eye(size)
    if graph == "complete" or size == 1:
        return np.full((size, size), 1 / size)
    below = np.roll(eye, 1, axis=0)  # row r takes from rank r - 1
    if graph == "ring":
        return (eye + below) / 2 if size == 2 else (eye + below + below.T) / 3
    return (eye + np.roll(eye, 2 ** (round_ % math.ceil(math.log2(size))), axis=0)) / 2


@THREE_AND_BOTH
def test_elastic_contracts_by_its_rate(comm):
    size, rate = comm.world.size, 0.6
    session = apart(comm, averaging="elastic", elastic_rate=rate)
    before = spread(comm, session.learner.vector)
    distance = np.linalg.norm(comm.mean(session.learner.vector) - session.strategy.centre)
    for _ in range(5):
        session.strategy.average_period()
    after = spread(comm, session.learner.vector)
    nearer = np.linalg.norm(comm.mean(session.learner.vector) - session.strategy.centre)
    assert after == pytest.approx(before * (1 - rate / size) ** 5, rel=1e-4, abs=1e-6)
    # the mean and the centre approach each other by the two rates together
    assert nearer == pytest.approx(distance * abs(1 - rate - rate / size) ** 5, rel=1e-3, abs=1e-6)


@THREE_AND_BOTH
def test_overlapped_takes_each_average_over_a_period_late(comm):
    """Two periods and a synchronization by hand: x = average of what was sent + what was moved since, weighed by samples."""
    size, rank = comm.world.size, comm.world.rank
    session = apart(comm, averaging="overlapped")
    strategy, vector = session.strategy, session.learner.vector
    random = np.random.default_rng(99)
    held = comm.all_gather(vector).numpy().reshape(size, -1).astype(np.float64)
    sent = None
    for synchronizes in (False, False, True):
        moved, samples = random.normal(size=held.shape), random.integers(1, 9, size)
        vector.assign_add(moved[rank].astype(np.float32))
        session.learner.samples_since_sync.assign_add([samples[rank], samples.sum()])
        held = held + moved
        (strategy.synchronize if synchronizes else tf.function(strategy.average_period))()
        if sent is not None:
            held = sent[1] @ sent[0] + (held - sent[0])
        sent = held, samples / samples.sum()
        if not synchronizes:
            np.testing.assert_allclose(vector.numpy(), held[rank], atol=1e-5)
    np.testing.assert_allclose(vector.numpy(), sent[1] @ sent[0], atol=1e-5)


@BOTH
def test_an_overlapped_average_is_waited_for_by_who_synchronizes(comm):
    """With periods of one step an average is under way at the end of every epoch."""
    ours, reports = train(comm, averaging="overlapped", sync_every=1, check_every=1, **ADAM)
    assert all(report.in_sync for report in reports)
    assert not ours.strategy.async_sum.under_way and not bool(ours.strategy.under_way)
    assert reports[-1].val_mse < reports[0].val_mse
    # of one vector, each rank sends 2 (N - 1) / N of it a step
    steps, size = reports[0].step, comm.world.size
    assert ours.strategy.async_sum.bytes_sent == pytest.approx(
        len(reports) * steps * 8 * (size - 1) / size * ours.learner.vector.shape[0], rel=1e-6) or size == 1


def test_an_outer_step_of_rate_one_is_plain_averaging(comm):
    outer = {"outer_optimizer": "sgd", "outer_learning_rate": 1.0, "outer_momentum": 0.0}
    ours, _ = train(comm, averaging="parameter", sync_every=3, **outer)
    theirs, _ = reference(comm, averaging="parameter", sync_every=3)
    same(ours, theirs)


@pytest.mark.parametrize("outer, nesterov", [("sgd", False), ("nesterov", True)])
def test_outer_momentum_follows_its_formula(comm, outer, nesterov):
    """Two outer steps by hand: v = m v + (x - average); x = x - r (v, or for Nesterov (x - average) + m v)."""
    rate, momentum = 0.7, 0.5
    session = apart(comm, averaging="parameter", outer_optimizer=outer, outer_learning_rate=rate,
                    outer_momentum=momentum)
    strategy, own = session.strategy, session.learner.vector.numpy()
    anchor, velocity = strategy.anchor.numpy(), 0.0
    for _ in range(2):
        session.learner.samples_since_sync.assign([1, comm.world.size])
        session.learner.vector.assign(own)
        strategy.average_period()
        average = comm.mean(own).numpy()
        moved = anchor - average
        velocity = momentum * velocity + moved
        anchor = anchor - rate * (moved + momentum * velocity if nesterov else velocity)
    np.testing.assert_allclose(session.learner.vector.numpy(), anchor, atol=1e-5)


def test_one_shot_is_parameter_with_a_period_beyond_the_last_step(comm):
    ours, _ = train(comm, averaging="one-shot", epochs=1, partition="contiguous")
    theirs, _ = train(comm, averaging="parameter", sync_every=10**6, epochs=1, partition="contiguous")
    same(ours, theirs)


@pytest.mark.jobs("single-1")
@pytest.mark.ranks(1)
def test_sequential_on_one_rank_is_plain_sgd(comm):
    ours, _ = train(comm, averaging="sequential", sync_every=4)
    theirs, _ = train(comm, averaging="gradient")
    same(ours, theirs)


@THREE
def test_sequential_hands_back_the_mean_of_what_ranks_trained_alone(comm):
    """Every rank starts a round from the same parameters, so the result is that of averaging them all at once."""
    data = {"data": "synthetic:106x4x5", "partition": "contiguous"}
    ours, reports = train(comm, averaging="sequential", sync_every=3, **data)
    theirs, _ = train(comm, averaging="parameter", sync_every=3, **data)
    same(ours, theirs)
    assert reports[-1].in_sync


@POWERS_OF_TWO
@pytest.mark.ranks(1, 2, 4)
def test_adasum_of_equal_gradients_is_that_gradient_and_of_orthogonal_ones_their_sum(comm):
    rank, size = comm.world.rank, comm.world.size
    equal = np.random.default_rng(0).normal(size=64).astype(np.float32)
    orthogonal = np.zeros(64, np.float32)
    orthogonal[rank * 4 : rank * 4 + 4] = rank + 1
    of_equal, of_orthogonal = comm.adasum(equal).numpy(), comm.adasum(orthogonal).numpy()
    np.testing.assert_allclose(of_equal, equal, rtol=1e-5)
    np.testing.assert_allclose(of_orthogonal, np.pad(np.repeat(np.arange(size) + 1.0, 4), (0, 64 - 4 * size)), rtol=1e-5)


@pytest.mark.jobs("mpi-2", "horovod-2")
@pytest.mark.ranks(2)
def test_adasum_of_two_follows_its_formula(comm):
    a, b = (np.random.default_rng(rank).normal(size=1000) for rank in range(2))
    ours = comm.adasum((a, b)[comm.world.rank].astype(np.float32)).numpy()
    np.testing.assert_allclose(ours, (1 - a @ b / (2 * a @ a)) * a + (1 - a @ b / (2 * b @ b)) * b, rtol=1e-4, atol=1e-5)


@THREE
@pytest.mark.ranks(3)
def test_adasum_refuses_three_ranks(comm):
    with pytest.raises(Refused, match="3 ranks are no power of two: start 2 or 4"):
        train(comm, averaging="adasum")


@POWERS_OF_TWO
@pytest.mark.ranks(1, 2, 4)
def test_adasum_ends_in_sync(comm):
    assert train(comm, averaging="adasum", **ADAM)[1][-1].in_sync


def test_adaptive_stays_within_its_bounds_and_records_its_choices(comm):
    ours, reports = train(comm, averaging="adaptive", sync_every=2, min_sync_every=1, max_sync_every=4,
                          drift_limit=1e9, communication_share=1e-9, check_every=4, epochs=4)
    choices = [choice for report in reports for choice in report.of_strategy["sync_every_choices"]]
    assert choices[0] == [0, 2]
    assert all(1 <= period <= 4 for _, period in choices)
    if comm.world.size > 1:  # any communication at all is too much here
        assert choices[-1][1] == 4
    assert ours.strategy.choose(4, drift=1e10, share=1.0) == 2


@pytest.mark.parametrize("strategy", [
    pytest.param(strategy, marks=pytest.mark.jobs("mpi-2", "horovod-2") if strategy in THROUGH_EITHER else ())
    for strategy in STRATEGIES if strategy not in ("server", "adasum")])
def test_every_strategy_learns_normalises_and_ends_in_sync(comm, strategy):
    ours, reports = with_everything(comm, strategy)[:2]
    assert reports[-1].in_sync is (None if strategy == "none" else True)
    assert reports[-1].val_mse < reports[0].val_mse
    assert np.isfinite(ours.strategy.result[1].numpy()).all()
