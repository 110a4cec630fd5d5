"""Settings: what is refused and why, what is filled in, and what must stay the same when a run goes on."""

import dataclasses

import pytest

from hvd_ae.averaging import strategy_class
from hvd_ae.cli import COMMANDS
from hvd_ae.errors import Refused
from hvd_ae.settings.averaging import STRATEGIES, AveragingSettings
from hvd_ae.settings.commands import DoctorSettings, EvaluateSettings
from hvd_ae.settings.fields import check_bounds
from hvd_ae.settings.models import ModelSettings
from hvd_ae.settings.tasks import TaskSettings
from hvd_ae.settings.train import TrainSettings, same_on_resume, strategy_defaults


@pytest.mark.parametrize("changes, sentence", [
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"epochs": -1}, "epochs=-1 must be at least 1"),
    ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0: try 0.001"),
    ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0"),
    ({"validation_split": 1.0}, "validation_split=1.0 must be between 0 and 1"),
    ({"averaging": "magic"}, "averaging='magic' is not known: use one of gradient, sharded"),
    ({"partition": "magic"}, "partition='magic' is not known: use one of contiguous, strided"),
    ({"sync_every": 1}, "sync_every=1 has no effect with averaging='gradient': drop it, or use averaging='parameter'"),
    ({"optimizer_state": "reset"}, "optimizer_state=reset has no effect with averaging='gradient'"),
    ({"concentration": 0.1}, "concentration=0.1 has no effect with partition='reshuffled'"),
    ({"partition": "label-skew", "concentration": 0.0}, "concentration=0.0 must be above 0"),
    ({"averaging": "parameter", "outer_momentum": 0.9}, "outer_momentum=0.9 has no effect with outer_optimizer='none'"),
    ({"averaging": "server", "server": "async", "aggregate": 2}, "aggregate=2 has no effect with server='async'"),
    ({"averaging": "elastic", "elastic_rate": 1.5}, "elastic_rate=1.5 must be at most 1"),
    ({"averaging": "adaptive", "sync_every": 500}, "sync_every=500 must lie within min_sync_every=1 and max_sync_every=256"),
    ({"averaging": "adaptive", "max_sync_every": 4, "min_sync_every": 9}, "min_sync_every=9 must not be above max"),
    ({"averaging": "adaptive", "sync_every": 2, "min_sync_every": 3}, "sync_every=2 must lie within min_sync_every=3 and max"),
    ({"learning_rate": float("inf")}, "learning_rate=inf must be finite"),
    ({"lr_scaling": "sqrt", "warmup_epochs": float("inf")}, "warmup_epochs=inf must be finite"),
    ({"lr_scaling": "sqrt", "warmup_epochs": float("nan")}, "warmup_epochs=nan must be at least 0"),
    ({"seed": 2**32}, "seed=4294967296 must be at most 4294967295"),
    ({"seed": -1}, "seed=-1 must be at least 0"),
    ({"checkpoint_every": -1}, "checkpoint_every=-1 must be at least 0"),
    ({"resume": True}, "resume=True needs a folder to go on in: give --run-dir"),
    ({"normalize_per": "all"}, "normalize_per='all' has no effect with normalize='none': drop it, or use for instance"),
    ({"normalize": "zscore"}, "normalize='zscore' is not known: use one of none, standard, minmax, robust, log1p"),
    ({"model": "my.models:build", "output_activation": "linear"}, "output_activation='linear' has no effect with model='my."),
    ({"averaging": "gossip", "graph": "star"}, "graph='star' is not known: use one of ring, exponential, complete"),
])
def test_what_cannot_be_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(Refused) as refusal:
        TrainSettings(**changes).resolved()
    assert sentence in str(refusal.value)


AT_LEAST_ONE = ("batch_size", "epochs", "steps", "patience", "keep_checkpoints", "check_every", "threads")
ABOVE_ZERO = {"learning_rate": "gradient", "clip_norm": "gradient", "drift_limit": "adaptive",
              "communication_share": "adaptive", "elastic_rate": "elastic", "ema": "gradient", "max_minutes": "gradient"}


@pytest.mark.parametrize("name", AT_LEAST_ONE)
def test_counts_begin_at_one(name):
    with pytest.raises(Refused, match=f"^{name}=0 must be at least 1: "):
        TrainSettings(**{name: 0}).resolved()
    assert getattr(TrainSettings(**{name: 1}).resolved(), name) == 1


@pytest.mark.parametrize("name", ABOVE_ZERO)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_rates_and_limits_are_above_zero(name, value):
    with pytest.raises(Refused, match=f"^{name}={value} must be above 0: try "):
        TrainSettings(**{name: value}, averaging=ABOVE_ZERO[name]).resolved()


VALUES = {"optimizer_state": "reset", "compression": "fp16", "outer_optimizer": "sgd", "server": "async", "graph": "complete",
          "clip_norm": 1.0, "outer_learning_rate": 0.7, "outer_momentum": 0.9, "drift_limit": 0.1,
          "communication_share": 0.1, "elastic_rate": 0.5, "ema": 0.9, "sync_batch_norm": True}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_setting_is_taken_by_the_strategies_that_it_means_something_to_and_by_no_other(strategy):
    for name in {name for each in STRATEGIES for name in strategy_defaults(each)}:
        given = {name: VALUES.get(name, 4)}
        if name in ("outer_learning_rate", "outer_momentum"):
            given |= {"outer_optimizer": "sgd"}
        if name in strategy_defaults(strategy):
            assert getattr(TrainSettings(averaging=strategy, **given).resolved(), name) == given[name]
        else:
            with pytest.raises(Refused, match=f"has no effect with averaging='{strategy}': drop it, or use averaging='"):
                TrainSettings(averaging=strategy, **given).resolved()


@pytest.mark.parametrize("bounds, sync_every", [({}, 16), ({"max_sync_every": 8}, 8), ({"min_sync_every": 20}, 20)])
def test_the_default_period_lies_within_the_bounds_that_are_given(bounds, sync_every):
    settings = TrainSettings(averaging="adaptive", **bounds).resolved()
    assert settings.sync_every == sync_every
    assert settings.resolved() == settings


def test_a_strategy_fills_in_its_own_defaults_and_no_others():
    assert TrainSettings(averaging="parameter").resolved().sync_every == 16
    assert TrainSettings(averaging="parameter", sync_every=3).resolved().sync_every == 3
    assert TrainSettings(averaging="gradient").resolved().sync_every is None
    assert TrainSettings(partition="label-skew").resolved().concentration == 0.5
    nesterov = TrainSettings(averaging="parameter", outer_optimizer="nesterov").resolved()
    assert (nesterov.outer_learning_rate, nesterov.outer_momentum) == (0.7, 0.9)


def test_resolved_settings_are_resolved_again():
    """A run's config.toml holds resolved settings, and must be accepted as they are."""
    for given in (*({"averaging": strategy} for strategy in STRATEGIES), {"data": "a.npy"},
                  {"data": "a.npy", "validation_data": "b.npy"}, {"model": "my.models:build"}):
        once = TrainSettings(**given).resolved()
        assert once.resolved() == once


def test_a_last_activation_is_filled_in_where_it_has_an_effect():
    assert TrainSettings().resolved().output_activation == "sigmoid"
    assert TrainSettings(model="my.models:build").resolved().output_activation is None
    assert TrainSettings(normalize="minmax").resolved().output_activation == "sigmoid"
    assert TrainSettings(normalize="log1p+standard").resolved().output_activation == "linear"


def test_every_strategy_has_its_file_and_its_settings():
    taken = {strategy for field in dataclasses.fields(AveragingSettings) for strategy in field.metadata["of"]}
    assert taken <= set(STRATEGIES)
    for name in STRATEGIES:
        strategy = strategy_class(name)
        assert strategy.__module__ == "hvd_ae.averaging." + name.replace("-", "_")
        assert len(strategy.__doc__) > 100


def test_what_must_stay_the_same_when_a_run_goes_on():
    """Nobody may change what is learnt or how ranks are averaged; everybody may change how long, how fast and where."""
    same = set(same_on_resume())
    groups = (AveragingSettings, TaskSettings, ModelSettings)
    of_groups = {field.name for group in groups for field in dataclasses.fields(group)}
    assert same == {"partition", "concentration", "optimizer", "optimizer_settings", "seed", "normalize",
                    "normalize_per", "missing", *(of_groups - {"accumulate"})}
    assert same <= {field.name for field in dataclasses.fields(TrainSettings)}


@pytest.mark.parametrize("settings_class", [settings_class for settings_class, *_ in COMMANDS.values()])
def test_every_setting_has_a_help_text_and_a_default_within_its_bounds(settings_class):
    for field in dataclasses.fields(settings_class):
        assert len(field.metadata["help"]) > 10, field.name
        assert field.metadata["at_least"] is None or field.metadata["above"] is None, field.name
        needs_an_example = field.metadata["above"] is not None or field.metadata["at_most"] is not None
        assert field.metadata["example"] is not None or not needs_an_example, field.name
    assert settings_class.__doc__.strip().splitlines()[0].endswith(".")
    check_bounds(settings_class(**{field.name: None for field in dataclasses.fields(settings_class) if field.default is None}))


@pytest.mark.parametrize("settings, sentence", [
    (EvaluateSettings("run", batch_size=0), "batch_size=0 must be at least 1: give a larger number, or leave it out"),
    (DoctorSettings(timeout=0.0), "timeout=0.0 must be above 0: try 60"),
    (DoctorSettings(collectives="magic"), "collectives='magic' is not known: use one of horovod, mpi, single"),
])
def test_bounds_of_other_commands(settings, sentence):
    with pytest.raises(Refused) as refusal:
        check_bounds(settings)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("given, match", [
    ({"decay_factor": 0.5}, "decay_factor=0.5 has no effect with schedule='constant': drop it, or use schedule='step'"),
    ({"schedule": "cosine", "decay_epochs": 3}, "decay_epochs=3 has no effect with schedule='cosine'"),
    ({"min_delta": 0.1}, "min_delta=0.1 has no effect without patience"),
    ({"ema": 1.0}, "ema=1.0 must be below 1"),
    ({"sync_batch_norm": True, "buckets": 2}, "buckets=2 averages while the backward pass goes on"),
])
def test_settings_of_training_without_effect_are_refused(given, match):
    with pytest.raises(Refused, match=match):
        TrainSettings(**given).resolved()


def test_a_schedule_fills_in_when_the_rate_falls():
    assert (TrainSettings(schedule="step", epochs=10).resolved().decay_epochs,
            TrainSettings(schedule="plateau").resolved().decay_epochs, TrainSettings().resolved().decay_epochs) == (4, 5, None)
    assert TrainSettings(patience=2, min_delta=0.1).resolved().min_delta == 0.1
