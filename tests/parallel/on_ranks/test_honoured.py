"""What layers bring beside their kernels (constraints, state, penalties) means on ranks what it means to Keras."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

from hvd_ae.errors import OutOfSync
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.training.saved_model import check_saved_model
from tests.parallel.on_ranks.training import alone, parameters, train, with_everything

MODELS = "tests.parallel.on_ranks.models:"
RANKS = {"server": (2, 3, 4), "adasum": (1, 2, 4)}
EVERY_STRATEGY = [pytest.param(name, marks=pytest.mark.ranks(*RANKS.get(name, ()))) for name in STRATEGIES]

pytestmark = pytest.mark.jobs("mpi-2")


def layers_of(session) -> keras.Model:
    vectors = (vector.numpy() for vector in session.strategy.result)
    return session.learner.flat.write(*vectors, [counter.numpy() for counter in session.strategy.result_counters])


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_parameters_satisfy_the_layers_constraints_whatever_averages_them(comm, strategy):
    session = with_everything(comm, strategy).session
    first, unit, short = [layer for layer in layers_of(session).layers if isinstance(layer, keras.layers.Dense)]
    assert all(np.min(weight) >= 0.0 for weight in first.get_weights())
    np.testing.assert_allclose(np.linalg.norm(unit.get_weights()[0], axis=0), 1.0, atol=1e-5)
    assert np.linalg.norm(short.get_weights()[0], axis=1).max() <= 0.5 + 1e-5
    assert np.linalg.norm(short.get_weights()[0], axis=1).max() > 0.4  # else it would say nothing


def test_sharded_is_gradient_under_constraints_too(comm):
    """A rank's part begins and ends in the middle of layers."""
    changes = {"model": f"{MODELS}constrained", "optimizer": "momentum", "learning_rate": 0.1}
    ours, _ = train(comm, averaging="sharded", partition="contiguous", **changes)
    theirs, _ = train(comm, averaging="gradient", partition="contiguous", **changes)
    np.testing.assert_allclose(parameters(ours), parameters(theirs), atol=2e-5)


@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_state_that_has_no_mean_is_that_of_the_first_rank(comm, strategy):
    session, reports = with_everything(comm, strategy)[:2]
    states = [counter.numpy() for counter, is_seed in zip(session.strategy.result_counters, session.learner.flat.is_seed)
              if not is_seed]
    numbers = np.concatenate([np.ravel(state).astype(np.float64) for state in states])
    of_ranks = comm.all_gather(numbers).numpy().reshape(comm.world.size, -1)
    mask, table, calls, largest = states
    np.testing.assert_array_equal(mask, np.arange(20) % 3 > 0)
    np.testing.assert_array_equal(table, np.arange(20)[::-1])
    if strategy != "none":
        np.testing.assert_array_equal(of_ranks, np.broadcast_to(of_ranks[0], of_ranks.shape))
    steps = math.ceil(math.ceil(107 / session.trainers.size) / 2)  # in the largest part, which the first rank has
    assert of_ranks[0, -2] == 3 * steps
    seeds = comm.all_gather(session.learner.counters[-1].numpy().astype(np.int64)).numpy()
    assert len(set(map(tuple, seeds.reshape(comm.world.size, -1)))) == comm.world.size
    assert [layer.calls for layer in layers_of(session).layers if hasattr(layer, "calls")][0] == calls
    assert largest > 0 and reports[-1].in_sync is (None if strategy == "none" else True)


@pytest.mark.jobs("mpi-2", "horovod-2")
def test_penalties_of_layers_belong_to_the_losses_that_are_reported(comm):
    session, reports = train(comm, model=f"{MODELS}with_state", learning_rate=1e-12, epochs=1)
    penalty = 0.05 * np.sum(np.square(layers_of(session).layers[-2].get_weights()[0]))
    assert penalty > 0.1
    assert reports[-1].val_loss - reports[-1].val_mse == pytest.approx(penalty, rel=1e-4)
    _, [expected] = alone(model=f"{MODELS}with_state", learning_rate=1e-12, epochs=1, batch_size=1000)
    assert reports[-1].train_loss == pytest.approx(expected.train_loss, rel=0.05)  # dropout draws other masks
    assert reports[-1].train_loss > penalty


def test_post_local_takes_its_first_outer_step_from_where_the_gradients_ended(comm):
    """By its formula: x - r (x - average), with x after the epoch of gradients and the average of what follows."""
    rate = 0.3
    steps = math.ceil(math.ceil(107 / comm.world.size) / 6)
    changes = {"averaging": "post-local", "sync_every": 4, "epochs": 2, "steps": steps + 4}
    x = parameters(train(comm, epochs=1)[0])
    average = parameters(train(comm, **changes)[0])
    ours, _ = train(comm, outer_optimizer="sgd", outer_learning_rate=rate, **changes)
    np.testing.assert_allclose(parameters(ours), x - rate * (x - average), atol=1e-6)
    assert np.abs(x - average).max() > 1e-3


@pytest.mark.ranks(2, 3, 4)
def test_adaptive_halves_its_period_where_ranks_drift(comm):
    """From a period beyond an epoch's steps, where only synchronizing averages."""
    steps = math.ceil(math.ceil(107 / comm.world.size) / 6)
    _, reports = train(comm, averaging="adaptive", sync_every=64, drift_limit=1e-9, epochs=6, partition="contiguous")
    choices = [choice for report in reports for choice in report.of_strategy["sync_every_choices"]]
    periods = [period for _, period in choices]
    assert choices[0] == [0, steps]
    assert periods == sorted(periods, reverse=True) and periods[-1] == 1
    assert all(after == max(1, before // 2) for before, after in zip(periods, periods[1:]))


@pytest.mark.parametrize("strategy", ["gradient", "one-shot", "none"])
def test_the_saved_model_gives_what_every_rank_reported(comm, tmp_path_factory, strategy):
    session, _ = train(comm, averaging=strategy, partition="contiguous", model=f"{MODELS}with_state", learning_rate=0.1)
    own = str(tmp_path_factory.mktemp("saved")) if comm.world.is_root else ""
    path = Path(broadcast_text(comm, own)) / "model.keras"
    if comm.world.is_root:
        layers_of(session).save(path)
    check_saved_model(session, path)
    if comm.world.is_root:
        layers_of(session)  # the check has given their memory back
    mask, last = session.strategy.result_counters[0], comm.world.size - 1
    if comm.world.rank == last:
        mask.assign(~mask)
    if strategy == "none" and last:  # each rank's model is its own, and that of the first is saved
        check_saved_model(session, path)
        return
    with pytest.raises(OutOfSync, match=f"but rank {last} of {last + 1} reported with a model that gives"):
        check_saved_model(session, path)
