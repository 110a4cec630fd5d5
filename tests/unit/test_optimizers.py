"""Optimizers on one vector, and the learning rates that they are given."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.build import build_model
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.learner import Learner
from hvd_ae.models.optimizers import OPTIMIZERS, make_optimizer
from hvd_ae.models.schedules import Shifted, falling, make_schedule, scaled_rate
from hvd_ae.tasks.losses import LOSSES


def test_an_optimizer_that_looks_at_layers_is_refused():
    with pytest.raises(Refused, match="optimizer='lamb' is not known, or does not work element by element"):
        make_optimizer("lamb", 0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_on_one_vector_does_what_it_does_layer_by_layer(name):
    learner = Learner(FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"]), make_optimizer(name, 0.01),
                      rank=0)
    layer_by_layer = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"])
    variables, optimizer = layer_by_layer.keras_model.trainable_variables, make_optimizer(name, 0.01)
    optimizer.build(variables)
    for seed in range(4):
        gradient = np.random.default_rng(seed).normal(size=learner.flat.layout.size).astype(np.float32)
        learner.update(tf.constant(gradient))
        optimizer.apply(learner.flat.layout.split(tf.constant(gradient)), variables)
    np.testing.assert_allclose(learner.vector, layer_by_layer.read()[0], atol=2e-6)


@pytest.mark.parametrize("name, moved", [("sgd", [1.0, 1.0]), ("momentum", [1.0, 1.9]), ("nesterov", [1.9, 2.71])])
def test_momentum_is_that_of_the_formula(name, moved):
    """v = 0.9 v + g; the parameters move by rate times g, v, or g + 0.9 v (Sutskever et al. 2013)."""
    optimizer, vector = make_optimizer(name, 0.5), keras.Variable(np.zeros(1, np.float32))
    optimizer.build([vector])
    for length in moved:
        before = float(vector.value[0])
        optimizer.apply([tf.ones(1)], [vector])
        assert before - float(vector.value[0]) == pytest.approx(0.5 * length, rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"momentum", "nesterov"}))
def test_optimizers_have_the_names_that_keras_gives_them(name):
    assert type(make_optimizer(name, 0.1)) is type(keras.optimizers.get(name))


def rates(schedule, updates: int) -> list[float]:
    """By how much each update of plain SGD moves along a gradient of 1."""
    optimizer = make_optimizer("sgd", schedule)
    vector = keras.Variable(np.zeros(1, np.float32))
    optimizer.build([vector])
    moved = []
    for _ in range(updates):
        before = float(vector.value[0])
        optimizer.apply([tf.ones(1)], [vector])
        moved.append(before - float(vector.value[0]))
    return moved


@pytest.mark.parametrize("scaling, updates, expected", [
    ("linear", 3, [0.1, 0.2, 0.3, 0.4, 0.4]),  # from the rate of one rank to that of four
    ("sqrt", 2, [0.1, 0.15, 0.2, 0.2, 0.2]),
    ("none", 4, [0.0, 0.025, 0.05, 0.075, 0.1]),  # from nothing, where nothing is scaled
])
def test_a_warm_up_leads_to_the_scaled_rate(scaling, updates, expected):
    schedule = make_schedule(0.1, scaling, ranks=4, warmup_epochs=updates / 8, updates_per_epoch=8)
    assert rates(schedule, 5) == pytest.approx(expected, rel=1e-5)


def test_without_a_warm_up_the_rate_is_a_number():
    assert make_schedule(0.1, "linear", 4, warmup_epochs=0.0, updates_per_epoch=8) == pytest.approx(0.4)
    assert make_schedule(0.1, "none", 4, warmup_epochs=0.01, updates_per_epoch=8) == 0.1  # of less than half an update


def test_a_shifted_schedule_goes_on_as_if_so_many_updates_had_been_made():
    schedule = make_schedule(0.1, "linear", ranks=4, warmup_epochs=1.0, updates_per_epoch=3)
    assert isinstance(schedule, Shifted)
    schedule.shift.assign(2)
    assert rates(schedule, 3) == pytest.approx([0.3, 0.4, 0.4], rel=1e-5)


def test_a_falling_rate_falls_from_epoch_to_epoch_to_nothing_after_the_last():
    assert rates(falling(0.8, epochs=4, updates_per_epoch=2), 8) == pytest.approx([0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2],
                                                                                rel=1e-5)


def test_learning_rates():
    assert scaled_rate(0.1, "linear", 4) == pytest.approx(0.4)
    assert scaled_rate(0.1, "sqrt", 4) == pytest.approx(0.2)
    assert scaled_rate(0.1, "none", 4) == 0.1
