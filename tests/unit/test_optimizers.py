"""Optimizers on one vector, and the learning rates that they are given."""

import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.errors import Refused
from hvd_ae.models.build import build_model
from hvd_ae.models.flat import FlatModel, Layout
from hvd_ae.models.learner import Learner
from hvd_ae.models.on_layers import Lamb
from hvd_ae.models.optimizers import ELEMENT_WISE, OPTIMIZERS, make_optimizer
from hvd_ae.models.schedules import Shifted, falling, make_schedule, scaled_rate
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.losses import LOSSES
from hvd_ae.training.improvement import Improvement


@pytest.mark.parametrize("name, settings, match", [
    ("adagard", None, "optimizer='adagard' is not known: use one of sgd, "),
    ("adam", "beta2=0.9", "holds 'beta2', which optimizer='adam' does not have: did you mean beta_2\\? It has beta_1, "),
    ("adam", "beta_2=fast", "holds beta_2='fast', which must be a number: write for instance beta_2=0.01"),
    ("adam", "amsgrad=1", "holds amsgrad='1', which must be true or false"),
    ("adam", "global_clipnorm=1", "holds global_clipnorm, which has a flag of its own here: use --clip-norm"),
    ("adam", "ema_momentum=0.9", "use --ema"),
    ("sgd", "momentum=3", "are not what optimizer='sgd' takes: `momentum` must be a float between"),
    ("lars", "decay_vectors=true", "holds 'decay_vectors', which optimizer='lars' does not have"),
])
def test_what_an_optimizer_does_not_know_is_refused(name, settings, match):
    with pytest.raises(Refused, match=match):
        make_optimizer(name, 0.1, settings)


SET = [("sgd", "weight_decay=0.02,momentum=0.5,nesterov=true"), ("adam", "beta_2=0.9, amsgrad=true"),
       ("adamw", "weight_decay=0.3"), ("rmsprop", "centered=true,momentum=0.3"), ("lamb", "weight_decay=0.1,beta_1=0.8"),
       ("muon", "ns_steps=2,momentum=0.8"), ("adafactor", "relative_step=false,clip_threshold=0.5")]


IN_KERAS = {name: keras.optimizers.Lamb if kind is Lamb else kind for name, (kind, _) in OPTIMIZERS.items() if name != "lars"}


@pytest.mark.parametrize("name, settings", [*((name, None) for name in IN_KERAS), *SET])
def test_an_optimizer_on_one_vector_does_what_keras_does_layer_by_layer(name, settings):
    kind, preset = IN_KERAS[name], OPTIMIZERS[name][1]
    given = dict(each.strip().split("=") for each in settings.split(",")) if settings else {}
    plain = kind(learning_rate=0.01, **preset | {key: json.loads(value) for key, value in given.items()})
    compare_layer_by_layer(make_optimizer(name, 0.01, settings), plain)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_decay_leaves_vectors_out_where_that_is_asked_for(name):
    plain = IN_KERAS[name](learning_rate=0.01, weight_decay=0.5)
    compare_layer_by_layer(make_optimizer(name, 0.01, "weight_decay=0.5,decay_vectors=false"), plain,
                           lambda variables: plain.exclude_from_weight_decay([v for v in variables if len(v.shape) == 1]))


def test_a_layer_wise_optimizer_follows_a_schedule():
    plain = keras.optimizers.Lamb(keras.optimizers.schedules.PolynomialDecay(0.01, 4, 0.0))
    compare_layer_by_layer(make_optimizer("lamb", scheduled(1, 1, 4, learning_rate=0.01, schedule="linear")), plain)


def compare_layer_by_layer(ours, plain, prepare=lambda variables: None):
    """Four updates of a small model, from the same gradients."""
    learner = Learner(FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"]), ours, rank=0)
    layer_by_layer = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"])
    variables = layer_by_layer.keras_model.trainable_variables
    prepare(variables)
    plain.build(variables)
    start = learner.vector.numpy()
    for seed in range(4):
        gradient = np.random.default_rng(seed).normal(size=learner.flat.layout.size).astype(np.float32)
        learner.update(tf.constant(gradient))
        plain.apply(learner.flat.layout.split(tf.constant(gradient)), variables)
    np.testing.assert_allclose(learner.vector, layer_by_layer.read()[0], atol=3e-6)
    assert np.abs(learner.vector - start).max() > 1e-5
    assert learner.updates == 4


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_is_that_of_the_paper(nesterov):
    """You et al. 2017, algorithm 1, in float64: a matrix is adapted, a vector is not; one matrix is still 0."""
    rate, momentum, decay, trust = 0.5, 0.9, 0.01, 0.1
    random = np.random.default_rng(0)
    weights, velocities = [random.normal(size=(3, 4)), random.normal(size=4), np.zeros((2, 2))], [0.0, 0.0, 0.0]
    optimizer = make_optimizer("lars", rate, f"momentum={momentum},weight_decay={decay},trust={trust},nesterov={nesterov}")
    layout = Layout([each.shape for each in weights])
    optimizer.lay_out(SimpleNamespace(layout=layout), None)
    vector = keras.Variable(layout.join([each.astype(np.float32) for each in weights]))
    optimizer.build([vector])
    for _ in range(3):
        gradients = [random.normal(size=each.shape) for each in weights]
        optimizer.apply([layout.join([gradient.astype(np.float32) for gradient in gradients])], [vector])
        for i, gradient in enumerate(gradients):
            if gradient.ndim == 2 and weights[i].any():
                size, slope = np.linalg.norm(weights[i]), np.linalg.norm(gradient)
                gradient = trust * size / (slope + decay * size) * (gradient + decay * weights[i])
            velocities[i] = momentum * velocities[i] + rate * gradient
            weights[i] = weights[i] - (momentum * velocities[i] + rate * gradient if nesterov else velocities[i])
    np.testing.assert_allclose(vector, layout.join(weights), atol=1e-5)


def test_parts_of_layers_are_refused_to_what_looks_at_layers():
    flat = FlatModel(build_model("shallow", (4, 5), "sigmoid", seed=1), LOSSES["mse"])
    with pytest.raises(Refused, match="optimizer='muon' .* works on whole layers, and averaging='sharded' deals out parts"):
        Learner(flat, make_optimizer("muon", 0.1), 0, part=(0, 10))


@pytest.mark.parametrize("name, moved", [("sgd", [1.0, 1.0]), ("momentum", [1.0, 1.9]), ("nesterov", [1.9, 2.71])])
def test_momentum_is_that_of_the_formula(name, moved):
    """v = 0.9 v + g; the parameters move by rate times g, v, or g + 0.9 v (Sutskever et al. 2013)."""
    optimizer, vector = make_optimizer(name, 0.5), keras.Variable(np.zeros(1, np.float32))
    optimizer.build([vector])
    for length in moved:
        before = float(vector.value[0])
        optimizer.apply([tf.ones(1)], [vector])
        assert before - float(vector.value[0]) == pytest.approx(0.5 * length, rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(ELEMENT_WISE) - {"momentum", "nesterov"}))
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


def scheduled(ranks: int, updates_per_epoch: int, updates: int = 100, **changes):
    return make_schedule(TrainSettings(**{"learning_rate": 0.1, **changes}).resolved(), ranks, updates_per_epoch, updates)


@pytest.mark.parametrize("scaling, updates, expected", [
    ("linear", 3, [0.1, 0.2, 0.3, 0.4, 0.4]),  # from the rate of one rank to that of four
    ("sqrt", 2, [0.1, 0.15, 0.2, 0.2, 0.2]),
    ("none", 4, [0.0, 0.025, 0.05, 0.075, 0.1]),  # from nothing, where nothing is scaled
])
def test_a_warm_up_leads_to_the_scaled_rate(scaling, updates, expected):
    schedule = scheduled(4, 8, lr_scaling=scaling, warmup_epochs=updates / 8)
    assert rates(schedule, 5) == pytest.approx(expected, rel=1e-5)


def test_without_a_warm_up_the_rate_is_a_number():
    assert scheduled(4, 8, lr_scaling="linear") == pytest.approx(0.4)
    assert scheduled(4, 8, warmup_epochs=0.01) == 0.1  # of less than half an update


def cosine(part):
    return 0.5 * (1 + math.cos(math.pi * part))


@pytest.mark.parametrize("changes, expected", [
    ({"schedule": "cosine"}, [cosine(update / 8) for update in range(8)]),
    ({"schedule": "cosine", "warmup_epochs": 1}, [0, 0.5, *(cosine(update / 6) for update in range(6))]),
    ({"schedule": "linear"}, [1 - update / 8 for update in range(8)]),
    ({"schedule": "linear", "warmup_epochs": 2}, [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]),
    ({"schedule": "step", "decay_epochs": 1, "decay_factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    ({"schedule": "step", "warmup_epochs": 1}, [0, 0.5, 1, 1, 1, 1, 0.1, 0.1]),  # every third of four epochs, rounded up
    ({"schedule": "plateau", "warmup_epochs": 0.5}, [0, *[1] * 7]),
], ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "")
def test_a_schedule_is_that_of_its_formula_and_begins_after_the_warm_up(changes, expected):
    """Four epochs of two updates."""
    assert rates(scheduled(1, 2, updates=8, epochs=4, **changes), 8) == pytest.approx(0.1 * np.array(expected), abs=1e-7)


def test_a_schedule_can_be_lowered_and_counts_on_from_anywhere():
    schedule = scheduled(4, 3, lr_scaling="linear", warmup_epochs=1.0)
    assert isinstance(schedule, Shifted)
    schedule.shift.assign(2)
    assert rates(schedule, 3) == pytest.approx([0.3, 0.4, 0.4], rel=1e-5)
    schedule.factor.assign(0.5)
    assert rates(schedule, 3) == pytest.approx([0.15, 0.2, 0.2], rel=1e-5)


def test_an_improvement_is_more_than_min_delta_and_no_number_is_none():
    seen = Improvement(0.1)
    assert [seen.see(value) for value in (math.nan, 1.0, 0.95, 0.85, math.inf, 0.8, 0.7)] == [False, True, False, True, False,
                                                                                             False, True]
    seen.see(0.7)
    again = Improvement(0.1)
    again.restore(seen.state())
    assert (again.best, again.since) == (0.7, 1) and not again.see(0.61) and again.since == 2


def test_a_falling_rate_falls_from_epoch_to_epoch_to_nothing_after_the_last():
    assert rates(falling(0.8, epochs=4, updates_per_epoch=2), 8) == pytest.approx([0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2],
                                                                                rel=1e-5)


def test_learning_rates():
    assert scaled_rate(0.1, "linear", 4) == pytest.approx(0.4)
    assert scaled_rate(0.1, "sqrt", 4) == pytest.approx(0.2)
    assert scaled_rate(0.1, "none", 4) == 0.1
