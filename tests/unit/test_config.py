"""Settings: what is refused and why, what is filled in, and that TOML and flags say the same."""

import ast
import dataclasses
import re
import sys
from pathlib import Path

import pytest

from hvd_ae import config
from hvd_ae.averaging import STRATEGIES
from hvd_ae.cli import COMMANDS, _parse, main
from hvd_ae.data.download import NAMES
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import WIDTHS
from hvd_ae.models.optimizers import OPTIMIZERS
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.train import TrainSettings, flags_from_toml, strategy_defaults, to_toml


@pytest.mark.parametrize("changes, sentence", [
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"epochs": -1}, "epochs=-1 must be at least 1"),
    ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0: try 0.001"),
    ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0"),
    ({"validation_split": 1.0}, "validation_split=1.0 must be between 0 and 1"),
    ({"averaging": "magic"}, "averaging='magic' is not known: use one of gradient, sharded"),
    ({"partition": "magic"}, "partition='magic' is not known: use one of contiguous, strided"),
    ({"sync_every": 1}, "sync_every=1 has no effect with averaging='gradient': drop it, or use averaging='parameter'"),
    ({"optimizer_state": "reset"}, "slots=reset has no effect with averaging='gradient'"),
    ({"concentration": 0.1}, "concentration=0.1 has no effect with partition='reshuffled'"),
    ({"partition": "label-skew", "concentration": 0.0}, "concentration=0.0 must be above 0"),
    ({"warmup_epochs": 2.0}, "warmup_epochs=2.0 has no effect with lr_scaling='none'"),
    ({"averaging": "parameter", "outer_momentum": 0.9}, "outer_momentum=0.9 has no effect with outer_optimizer='none'"),
    ({"averaging": "server", "server": "async", "aggregate": 2}, "aggregate=2 has no effect with server='async'"),
    ({"averaging": "elastic", "elastic_rate": 1.5}, "elastic_rate=1.5 must be at most 1"),
    ({"averaging": "adaptive", "sync_every": 500}, "sync_every=500 must lie within min_sync_every=1 and max_sync_every=256"),
    ({"averaging": "adaptive", "max_sync_every": 4, "min_sync_every": 9}, "min_sync_every=9 must not be above max"),
    ({"averaging": "adaptive", "sync_every": 2, "min_sync_every": 3}, "sync_every=2 must lie within min_sync_every=3 and max"),
    ({"learning_rate": float("inf")}, "learning_rate=inf must be finite"),
    ({"lr_scaling": "sqrt", "warmup_epochs": float("inf")}, "warmup_epochs=inf must be finite"),
    ({"lr_scaling": "sqrt", "warmup_epochs": float("nan")}, "warmup_epochs=nan must be at least 0"),
    ({"seed": 2**32}, "seed=4294967296 must be below 2**32"),
    ({"seed": -1}, "seed=-1 must be at least 0"),
    ({"checkpoint_every": -1}, "checkpoint_every=-1 must be at least 0"),
    ({"resume": True}, "resume=True has no effect without run_dir"),
    ({"validation_split": 0.2}, "validation_split=0.2 has no effect with data='digits', which brings its own"),
    ({"data": "synthetic:90x4", "validation_split": 0.2}, "validation_split=0.2 has no effect with data='synthetic:90x4'"),
    ({"data": "a.npy", "validation_data": "b.npy", "validation_split": 0.2}, "has no effect with validation_data='b.npy'"),
    ({"model": "my.models:build", "output_activation": "linear"}, "output_activation='linear' has no effect with model='my."),
    ({"averaging": "gossip", "graph": "star"}, "graph='star' is not known: use one of ring, exponential, complete"),
])
def test_what_cannot_be_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(Refused) as refusal:
        TrainSettings(**changes).resolved()
    assert sentence in str(refusal.value)


AT_LEAST_ONE = ("batch_size", "epochs", "steps", "keep_checkpoints", "check_every", "threads")
ABOVE_ZERO = {"learning_rate": "gradient", "clip_norm": "gradient", "drift_limit": "adaptive",
              "communication_share": "adaptive", "elastic_rate": "elastic"}


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
          "communication_share": 0.1, "elastic_rate": 0.5}


@pytest.mark.parametrize("strategy", WAY_SETTINGS)
def test_a_setting_is_taken_by_the_ways_that_it_means_something_to_and_by_no_other(strategy):
    for name in {name for settings in WAY_SETTINGS.values() for name in settings}:
        given = {name: VALUES.get(name, 4)}
        if name in ("outer_learning_rate", "outer_momentum"):
            given |= {"outer_optimizer": "sgd"}
        if name in WAY_SETTINGS[strategy]:
            assert getattr(TrainSettings(averaging=strategy, **given).resolved(), name) == given[name]
        else:
            with pytest.raises(Refused, match=f"has no effect with averaging='{strategy}': drop it, or use averaging='"):
                TrainSettings(averaging=strategy, **given).resolved()


@pytest.mark.parametrize("bounds, sync_every", [({}, 16), ({"max_sync_every": 8}, 8), ({"min_sync_every": 20}, 20)])
def test_the_default_period_lies_within_the_bounds_that_are_given(bounds, sync_every):
    settings = TrainSettings(averaging="adaptive", **bounds).resolved()
    assert settings.sync_every == sync_every
    assert settings.resolved() == settings


def test_a_way_fills_in_its_own_defaults_and_no_others():
    assert TrainSettings(averaging="parameter").resolved().sync_every == 16
    assert TrainSettings(averaging="parameter", sync_every=3).resolved().sync_every == 3
    assert TrainSettings(averaging="gradient").resolved().sync_every is None
    assert TrainSettings(partition="label-skew").resolved().concentration == 0.5
    nesterov = TrainSettings(averaging="parameter", outer_optimizer="nesterov").resolved()
    assert (nesterov.outer_learning_rate, nesterov.outer_momentum) == (0.7, 0.9)


def test_effective_settings_are_effective_again():
    """A run's config.toml holds effective settings, and must be accepted as they are."""
    for given in (*({"averaging": strategy} for strategy in STRATEGIES), {"data": "a.npy"}, {"data": "a.npy", "validation_data": "b.npy"},
                  {"model": "my.models:build"}):
        once = TrainSettings(**given).resolved()
        assert once.resolved() == once


def test_a_split_and_a_last_activation_are_filled_in_where_they_have_an_effect():
    assert TrainSettings(data="mine.npy").resolved().validation_split == 0.1
    for given in ({}, {"data": "mine.npy", "validation_data": "b.npy"}, {"data": "synthetic:10x4"}):
        assert TrainSettings(**given).resolved().validation_split is None
    assert TrainSettings().resolved().output_activation == "sigmoid"
    assert TrainSettings(model="my.models:build").resolved().output_activation is None


def test_the_names_that_bring_validation_samples_are_those_that_there_are():
    assert set(config._NAMED_DATA) == {"digits", *NAMES, "synthetic"}


def test_every_way_has_its_file_and_its_settings():
    assert set(STRATEGIES) == set(WAY_SETTINGS)
    for strategy, kind in STRATEGIES.items():
        assert kind.__module__ == "hvd_ae.averaging." + strategy.replace("-", "_")
        assert len(kind.__doc__) > 100


@pytest.mark.parametrize("given", [
    {"data": "a b.npy", "averaging": "parameter", "resume": True, "warmup_epochs": 1.5, "lr_scaling": "sqrt",
     "sync_every": 7, "steps": 90, "run_dir": "x"},
    {"data": "-odd=\"\\ü\n.npy", "model": "my.models:build", "learning_rate": 1e-300, "seed": 2**32 - 1},
    {"averaging": "post-local", "outer_optimizer": "nesterov", "clip_norm": 0.1 + 0.2, "compression": "bf16"},
    {},
])
def test_settings_survive_the_way_through_toml_and_flags(tmp_path, given):
    settings = TrainSettings(**given).resolved()
    path = tmp_path / "run.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert "None" not in path.read_text(encoding="utf-8")
    command = _parse(["train", *flags_from_toml(str(path), TrainSettings)])
    assert command.keywords["settings"] == settings


def test_the_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('epochs = 3\nbatch_size = 7\nresume = true\n')
    settings = _parse(["train", "--batch-size", "9", "--no-resume", "--config", str(path)]).keywords["settings"]
    assert (settings.epochs, settings.batch_size, settings.resume) == (3, 9, False)


@pytest.mark.parametrize("text, sentence", [
    ("batchsize = 3", "'batchsize', which is no setting: did you mean batch_size?"),
    ("epochs = [", "is not valid TOML"),
])
def test_a_bad_file_is_refused_in_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(Refused, match=sentence):
        flags_from_toml(str(path), TrainSettings)


def test_help_needs_no_tensorflow():
    import subprocess

    code = "import sys, hvd_ae.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\nprint('tensorflow' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip().endswith("False"), said.stderr
    assert "install-horovod" in said.stdout


def helped_fields(name):
    """Fields of a dataclass in config.py, by whether a string that explains them follows."""
    tree = ast.parse(Path(config.__file__).read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    for node, following in zip(body, [*body[1:], None]):
        if isinstance(node, ast.AnnAssign):
            yield node.target.id, isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)


def test_every_setting_has_a_help_text():
    fields = dict(helped_fields("TrainSettings"))
    assert list(fields) == [field.name for field in dataclasses.fields(TrainSettings)]
    assert [name for name, has_help in fields.items() if not has_help] == []
    unexplained = {name for name, has_help in helped_fields("CompareSettings") if not has_help}
    assert unexplained <= set(fields)  # "as for `hvd-ae train`"


@pytest.mark.parametrize("names, field", [(STRATEGIES, "averaging"), (OPTIMIZERS, "optimizer"), (WIDTHS, "model")])
def test_help_names_every_choice(names, field):
    text = Path(config.__file__).read_text(encoding="utf-8")
    explained = text.split(f'\n    {field}: str = ')[1].split('"""')[1]
    assert [name for name in names if not re.search(rf"\b{name}\b", explained)] == []


def test_the_overview_names_every_command_and_an_unknown_one_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and all(f"  {name} " in said for name in COMMANDS)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("hvd-ae: 'trian' is no command: use one of train, ")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
