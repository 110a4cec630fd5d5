"""The command line: help for people, one sentence for what cannot be read, and TOML files that say the same as flags."""

import dataclasses
import re
import subprocess
import sys
from typing import get_type_hints

import pytest
import tomli_w

from hvd_ae.cli import COMMANDS, main, parse_command
from hvd_ae.errors import Refused
from hvd_ae.models.optimizers import OPTIMIZERS
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.fields import base_type, choices_of, flag_of
from hvd_ae.settings.models import MODELS
from hvd_ae.settings.tasks import LOSSES, TASKS
from hvd_ae.settings.toml import flags_from_toml, to_toml
from hvd_ae.settings.train import TrainSettings, strategy_defaults

POSITIONAL = {"evaluate": ["some-run"], "track": ["some-run"], "report": ["a-run", "another"],
              "encode": ["some-run"], "decode": ["some-run"], "sample": ["some-run"],
              "export": ["some-run"], "reconstruct": ["some-run"], "score": ["some-run"], "probe": ["some-run"],
              "convert": ["some.npy", "other.h5"], "run": ["train"]}


@pytest.mark.parametrize("given", [
    {"data": "a b.npy", "averaging": "parameter", "resume": True, "warmup_epochs": 1.5, "lr_scaling": "sqrt",
     "sync_every": 7, "steps": 90, "run_dir": "x"},
    {"data": "-odd=\"\\ü\n.npy", "model": "my.models:build", "learning_rate": 1e-300, "seed": 2**32 - 1},
    {"averaging": "post-local", "outer_optimizer": "nesterov", "clip_norm": 0.1 + 0.2, "compression": "bf16"},
    {},
])
def test_settings_survive_toml_and_flags(tmp_path, given):
    settings = TrainSettings(**given).resolved()
    path = tmp_path / "run.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert "None" not in path.read_text(encoding="utf-8")
    assert parse_command(["train", *flags_from_toml(str(path), TrainSettings)]) == ("train", settings)
    assert parse_command(["train", "--config", str(path)]) == ("train", settings)


def test_the_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('epochs = 3\nbatch_size = 7\nresume = true\n')
    _, settings = parse_command(["train", "--batch-size", "9", "--no-resume", "--config", str(path)])
    assert (settings.epochs, settings.batch_size, settings.resume) == (3, 9, False)


def another_value(field: dataclasses.Field, hint):
    """A value that the field allows, and that is not its default."""
    if base_type(hint) is bool:
        return not field.default
    if base_type(hint) is float:
        return 0.75
    if base_type(hint) is int:
        return min(7, field.metadata["at_most"] or 7)
    return next((choice for choice in choices_of(hint) if choice != field.default), "some text")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_of_every_command_can_stand_in_a_file(tmp_path, command):
    """Each setting with a value that is not its default; flags say the same."""
    settings_class, flags = COMMANDS[command][0], []
    hints = get_type_hints(settings_class)
    given = {field.name: another_value(field, hints[field.name]) for field in dataclasses.fields(settings_class)
             if not field.metadata["positional"]}
    for name, value in given.items():
        flags += [flag_of(name)] if value is True else [flag_of(name), str(value)]
    path = tmp_path / "settings.toml"
    path.write_text(tomli_w.dumps(given))
    name, settings = parse_command([command, *POSITIONAL.get(command, []), "--config", str(path)])
    assert name == command and given == {name: getattr(settings, name) for name in given}
    assert settings == parse_command([command, *POSITIONAL.get(command, []), *flags])[1]


@pytest.mark.parametrize("text, sentence", [
    ("batchsize = 3", "'batchsize', which is no setting: did you mean batch_size?"),
    ("slots = 'reset'", "holds 'slots', which is called optimizer_state now: use that"),
    ("proof_every = 3", "holds 'proof_every', which is called check_every now: use that"),
    ("epochs = [", "is not valid TOML"),
    ("[data]\npath = 'x'", "holds data={'path': 'x'}, which must be a number or text: write one value after data ="),
    ("ranks = ['1']\n", "holds 'ranks', which is no setting"),
    ("steps = [3, 4]", r"holds steps=\[3, 4\], which must be a number or text"),
    ("epochs = true", "holds epochs=True, which must be a number or text"),
    ("resume = 1", "holds resume=1, which must be true or false"),
    ("epochs = 'many'", "epochs='many' is not a whole number"),
    ("partition = 'any'", "partition='any' is not known: use one of contiguous, "),
])
def test_a_bad_file_is_refused_in_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(Refused, match=sentence) as refusal:
        parse_command(["train", "--config", str(path)])
    assert "\n" not in str(refusal.value)


def test_a_file_of_one_command_is_read_by_its_own_settings(tmp_path):
    path = tmp_path / "file.toml"
    path.write_text("epochs = 3\n")
    assert parse_command(["compare", "--config", str(path)])[1].epochs == 3
    with pytest.raises(Refused, match="holds 'epochs', which is no setting: known are run_dir, json, collectives, timeout"):
        parse_command(["doctor", "--config", str(path)])
    path.write_text("run = 'elsewhere'\n")
    with pytest.raises(Refused, match="holds 'run', which is no setting"):  # of this command the run is an argument
        parse_command(["evaluate", "some-run", "--config", str(path)])


@pytest.mark.parametrize("command, sentence", [
    ("train --bath-size 3", "'--bath-size' is no flag of hvd-ae train: did you mean --batch-size?"),
    ("train --bath-size=3", "'--bath-size' is no flag of hvd-ae train: did you mean --batch-size?"),
    ("train --epoch 3", "'--epoch' is no flag of hvd-ae train: did you mean --epochs?"),
    ("doctor --xyz", "'--xyz' is no flag of hvd-ae doctor: see hvd-ae doctor --help"),
    ("train stray", "'stray' is no flag of hvd-ae train: see hvd-ae train --help"),
    ("train --slots reset", "--slots is called --optimizer-state now: use that"),
    ("train --slots=reset", "--slots is called --optimizer-state now: use that"),
    ("train --proof-every 3", "--proof-every is called --check-every now: use that"),
    ("train --proof_every 3", "--proof-every is called --check-every now: use that"),
    ("compare --ways gradient", "--ways is called --averaging now: use that"),
    ("verify --ways gradient", "--ways is called --averaging now: use that"),
    ("plan --ways gradient", "--ways is called --averaging now: use that"),
    ("install-horovod --ways gradient", "'--ways' is no flag of hvd-ae install-horovod: see hvd-ae install-horovod --help"),
    ("train --batch-size many", "batch_size='many' is not a whole number: write for instance --batch-size 2"),
    ("train --batch-size 1.5", "batch_size='1.5' is not a whole number: write for instance --batch-size 2"),
    ("train --learning-rate fast", "learning_rate='fast' is not a number: write for instance --learning-rate 2"),
    ("train --partition any", "partition='any' is not known: use one of contiguous, strided, shuffled, label-skew, resh"),
    ("train --epochs", "--epochs needs a value: see hvd-ae train --help"),
    ("train --config", "--config needs a value: see hvd-ae train --help"),
    ("evaluate", "it lacks RUN: see hvd-ae evaluate --help"),
    ("reconstruct some-run --data x.npy", "it lacks --output: see hvd-ae reconstruct --help"),
    ("evaluate some-run --batch-size 0", "batch_size=0 must be at least 1: give a larger number, or leave it out"),
    ("doctor --timeout 0", "timeout=0.0 must be above 0: try 60"),
    ("trian", "'trian' is no command: use one of train, evaluate, "),
])
def test_what_cannot_be_read_is_refused_in_a_sentence(capsys, command, sentence):
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"hvd-ae: {sentence}") and said.err.count("\n") == 1


def test_hyphens_and_underscores_are_the_same():
    assert parse_command(["train", "--batch_size=9", "--run-dir", "a_b"]) == (
        "train", TrainSettings(batch_size=9, run_dir="a_b"))


def helped(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def sections(text: str) -> dict[str, str]:
    """The groups of a help text, each as one line without breaks."""
    parts = re.split(r"^(\w[\w ]*):\n", text, flags=re.M)
    return {title: " ".join(part.replace("-\n", "-").split()) for title, part in zip(parts[1::2], parts[2::2])}


def test_help_shows_settings_in_groups(capsys):
    groups = sections(helped(capsys, "train"))
    assert list(groups) == ["options", "data", "task", "model", "training", "averaging", "run"]
    for name, group in {"data": "data", "partition": "data", "loss": "task", "widths": "model", "precision": "model",
                        "learning_rate": "training",
                        "seed": "training", "averaging": "averaging", "compression": "averaging", "resume": "run",
                        "check_every": "run"}.items():
        assert [title for title, text in groups.items() if f"{flag_of(name)} " in text.replace(",", "")] == [group]
    assert "(default: 128)" in groups["training"]


def test_help_shows_with_a_strategys_setting_whose_it_is(capsys):
    shown = sections(helped(capsys, "train"))["averaging"].replace("- ", "-")
    for strategy in STRATEGIES:
        for name, default in strategy_defaults(strategy).items():
            [of] = re.findall(rf"{flag_of(name)},? .*?\[([^]]*)\]\.", shown)
            assert strategy in re.split(", |: ", of), name
            assert default is None or of.endswith(f": {default}"), name


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_setting_and_what_a_file_is(capsys, command):
    said = helped(capsys, command)
    for field in dataclasses.fields(COMMANDS[command][0]):
        assert (field.name.upper() if field.metadata["positional"] else flag_of(field.name)) in said
    assert "--config FILE" in said and said.startswith(f"usage: hvd-ae {command}")


@pytest.mark.parametrize("names, flag, group", [
    (STRATEGIES, "averaging", "averaging"), (OPTIMIZERS, "optimizer", "training"), (MODELS, "model", "model"),
    (TASKS, "task", "task"), (LOSSES, "loss", "task")])
def test_help_names_every_choice(capsys, names, flag, group):
    shown = sections(helped(capsys, "train"))[group].replace("- ", "-")
    explained = re.search(rf"--{flag} TEXT (.*?)(?= --|$)", shown)[1]
    assert [name for name in names if not re.search(rf"\b{name}\b", explained)] == []


def test_the_overview_names_every_command(capsys):
    said = helped(capsys)
    assert all(f"  {name} " in said for name in COMMANDS)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_of_several_ranks_one_shows_the_help(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "1")
    assert helped(capsys, "train") == ""


def test_help_needs_no_tensorflow():
    code = ("import sys, hvd_ae.cli as c\ntry: c.main(['train', '--help'])\nexcept SystemExit: pass\n"
            "print('tensorflow' in sys.modules)")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout.strip().endswith("False"), said.stderr
    assert "--batch-size" in said.stdout
