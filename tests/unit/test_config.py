"""Settings: what is refused and why, what is filled in, and that TOML and flags say the same."""

import dataclasses
import sys

import pytest

from hvd_ae.averaging import WAYS
from hvd_ae.cli import _parse
from hvd_ae.config import WAY_SETTINGS, TrainSettings, flags_from_toml, to_toml
from hvd_ae.errors import Refused


@pytest.mark.parametrize("changes, sentence", [
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"epochs": -1}, "epochs=-1 must be at least 1"),
    ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0: try 0.001"),
    ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0"),
    ({"validation_split": 1.0}, "validation_split=1.0 must be between 0 and 1"),
    ({"averaging": "magic"}, "averaging='magic' is not known: use one of gradient, sharded"),
    ({"partition": "magic"}, "partition='magic' is not known: use one of contiguous, strided"),
    ({"sync_every": 1}, "sync_every=1 has no effect with averaging='gradient': drop it, or use averaging='parameter'"),
    ({"slots": "reset"}, "slots=reset has no effect with averaging='gradient'"),
    ({"concentration": 0.1}, "concentration=0.1 has no effect with partition='reshuffled'"),
    ({"partition": "label-skew", "concentration": 0.0}, "concentration=0.0 must be above 0"),
    ({"warmup_epochs": 2.0}, "warmup_epochs=2.0 has no effect with lr_scaling='none'"),
    ({"averaging": "parameter", "outer_momentum": 0.9}, "outer_momentum=0.9 has no effect with outer_optimizer='none'"),
    ({"averaging": "server", "server": "async", "aggregate": 2}, "aggregate=2 has no effect with server='async'"),
    ({"averaging": "elastic", "elastic_rate": 1.5}, "elastic_rate=1.5 must be at most 1"),
    ({"averaging": "adaptive", "sync_every": 500}, "sync_every=500 must lie within min_sync_every=1 and max_sync_every=256"),
    ({"averaging": "gossip", "graph": "star"}, "graph='star' is not known: use one of ring, exponential, complete"),
])
def test_what_cannot_be_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(Refused) as refusal:
        TrainSettings(**changes).effective()
    assert sentence in str(refusal.value)


def test_a_way_fills_in_its_own_defaults_and_no_others():
    assert TrainSettings(averaging="parameter").effective().sync_every == 16
    assert TrainSettings(averaging="parameter", sync_every=3).effective().sync_every == 3
    assert TrainSettings(averaging="gradient").effective().sync_every is None
    assert TrainSettings(partition="label-skew").effective().concentration == 0.5
    nesterov = TrainSettings(averaging="parameter", outer_optimizer="nesterov").effective()
    assert (nesterov.outer_learning_rate, nesterov.outer_momentum) == (0.7, 0.9)


def test_effective_settings_are_effective_again():
    """A run's config.toml holds effective settings, and must be accepted as they are."""
    for way in WAYS:
        once = TrainSettings(averaging=way).effective()
        assert once.effective() == once


def test_every_way_has_its_file_and_its_settings():
    assert set(WAYS) == set(WAY_SETTINGS)
    for way, kind in WAYS.items():
        assert kind.__module__ == "hvd_ae.averaging." + way.replace("-", "_")
        assert len(kind.__doc__) > 100


def test_settings_survive_the_way_through_toml_and_flags(tmp_path):
    settings = TrainSettings(data="a b.npy", averaging="parameter", resume=True, warmup_epochs=1.5, lr_scaling="sqrt",
                             sync_every=7, steps=90, run_dir="x").effective()
    path = tmp_path / "run.toml"
    path.write_text(to_toml(settings))
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


def test_every_setting_is_told_apart():
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    assert len(names) == len(set(names))
