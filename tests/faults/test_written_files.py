"""What commands write is whole or as it was: never over their own input, killed half way, or on a full disk; and what was
damaged afterwards is not taken for whole."""

import hashlib
import json
import os
import random
import shutil
import sys

import numpy as np
import pytest

from hvd_ae.cli import main
from hvd_ae.commands.evaluate import evaluate
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks
from hvd_ae.settings.commands import EvaluateSettings
from tests.damage import damage
from tests.launch import HVD_AE, ranks_of, run, started, wait_until

# Every command that writes, in one process, where no file may grow beyond 16 kB, as on a full disk.
FULL = '''
import resource, signal, sys
from hvd_ae.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for line in sys.stdin.read().splitlines():
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, resource.RLIM_INFINITY))
    status = main(line.split())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("STATUS", status, flush=True)
    print("STATUS", file=sys.stderr, flush=True)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run, trained on a file with labels, and the files by name."""
    folder = tmp_path_factory.mktemp("written")
    values = np.random.default_rng(0).uniform(size=(300, 16)).astype(np.float32)
    np.save(folder / "x.npy", values)
    np.save(folder / "x.labels.npy", np.arange(300) % 3)
    np.save(folder / "other.npy", values[:50])
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert main(["train", "--data", "x.npy", "--model", "shallow", "--epochs", "1", "--run-dir", "run"]) == 0
    return folder


def digests(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_no_spelling_of_an_input_is_written_over(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "link.npy").symlink_to("x.npy")
    os.link(place / "x.npy", place / "hard.npy")
    before = digests(place)
    same = {"x.npy": "x.npy", "link.npy": "x.npy", "hard.npy": "x.npy", "run/../x.npy": "x.npy",
            "x.labels.npy": "x.labels.npy", "run/model.keras": "run/model.keras", "run/metrics.jsonl": "run/metrics.jsonl"}
    tries = [("x.npy", output) for output in same] + [("other.npy", "x.npy"), ("other.npy", "fine.npy")]
    statuses = [main(["reconstruct", "run", "--data", data, "--output", output]) for data, output in tries]
    said = capsys.readouterr().err.splitlines()
    assert statuses == [2] * (len(tries) - 1) + [0], said
    for line, (output, file) in zip(said, [*same.items(), ("x.npy", "x.npy")], strict=True):
        assert line.startswith(f"hvd-ae: output={output!r} is {file}, ") and line.endswith(": name another file"), line
    assert digests(place) == before | {"fine.npy": digests(place)["fine.npy"]}
    assert np.load(place / "fine.npy").shape == (50, 16)


def test_a_killed_reconstruct_leaves_what_was_there_and_another_start_goes_on(place, tmp_path, monkeypatch):
    """Two ranks, one sample a pass, so that it takes long; one rank goes on, and writes what was never killed writes."""
    np.save(tmp_path / "many.npy", np.random.default_rng(1).uniform(size=(10_000, 16)).astype(np.float32))
    output = tmp_path / "out.npy"
    command = (HVD_AE, "reconstruct", str(place / "run"), "--data", str(tmp_path / "many.npy"), "--output", str(output))
    output.write_bytes(before := b"of an earlier one")
    with started(2, *command, "--batch-size", "1", log=tmp_path / "log") as job:
        wait_until((tmp_path / "out.npy.partial" / "done.txt").exists, 90)
        assert job.poll() is None
        ranks_of(job)[1].kill()
        job.wait(30)
    done = tmp_path / "out.npy.partial" / "done.txt"
    noted = len(done.read_text().split())
    assert output.read_bytes() == before and 0 < noted < 250
    passed, of_block = [], Blocks._of_block
    monkeypatch.setattr(Blocks, "_of_block", lambda self, read: passed.append(1) or of_block(self, read))
    assert main([*command[1:], "--batch-size", "1"]) == 0
    assert len(passed) == 10_000 - noted * 40  # samples of a unit
    assert main([*command[1:-1], str(tmp_path / "whole.npy"), "--batch-size", "1"]) == 0
    assert output.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["log", "many.npy", "out.npy", "whole.npy"]


def test_a_full_disk_is_one_sentence_for_every_command(place, tmp_path):
    folder = tmp_path / "place"
    shutil.copytree(place, folder)
    measured = '{"step_seconds": 1e-3, "step_spread_seconds": 1e-5, "update_seconds": 1e-4, "parameters": 1000, ' \
               '"batch_size": 8, "samples": 300, "links": {"inside": {"latency_seconds": 1e-6, "seconds_per_byte": 1e-9}}}'
    (folder / "measured.json").write_text(measured)
    (folder / "verify.md").symlink_to("/dev/full")  # a report is smaller than that
    commands = {
        "reconstruct run --data x.npy --output out.npy": "out.npy",
        "probe run --epochs 1": "run/probe.png",
        "plan --measured measured.json --output plan": "plan/plan.png",
        "verify --averaging none": "verify.md",
        "compare --data x.npy --model shallow --averaging none --seeds 1 --steps 5 --run-dir compared": "compared/compare.png",
        "train --data x.npy --model shallow --epochs 1 --checkpoint-every 0 --run-dir new": "new/model.keras",
    }
    script = tmp_path / "full.py"
    script.write_text(FULL)
    before = digests(folder)
    ended = run(["sh", "-c", f"printf '%s\\n' {' '.join(repr(command) for command in commands)} | {sys.executable} {script}"],
                cwd=folder)
    statuses = [line for line in ended.stdout.splitlines() if line.startswith("STATUS")]
    assert statuses == ["STATUS 2"] + ["STATUS 1"] * (len(commands) - 1), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    for said, (command, file) in zip(ended.stderr.split("STATUS\n"), commands.items()):
        sentences = [line for line in said.splitlines() if line.startswith("hvd-ae:")]
        assert len(sentences) == 1 and "cannot be written (" in sentences[0] and "(None)" not in sentences[0], (command, said)
        assert f"{file} cannot be written (" in sentences[0], (command, said)
    after = digests(folder)
    assert {name: after.get(name) for name in before} == before
    new = [name for name in after.keys() - before.keys() if "checkpoints" not in name]
    assert not [name for name in new if ".partial" in name or name.endswith((".png", ".npy", ".keras"))], new


@pytest.mark.parametrize("name", ["model.keras", "config.toml"])
def test_a_run_that_was_damaged_is_refused_or_gives_the_same_losses(place, tmp_path, monkeypatch, capsys, name):
    """A number in config.toml may become another, which nobody can tell from a choice; nothing else may differ."""
    monkeypatch.chdir(place)  # where the run's data are

    def losses(run) -> dict:
        evaluate(EvaluateSettings(str(run), batch_size=64))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    good, random_, refused = losses("run"), random.Random(3), 0
    for _ in range(30):
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        (tmp_path / "tried" / "part").mkdir(parents=True)
        for file in ("model.keras", "config.toml"):
            shutil.copy(place / "run" / file, tmp_path / "tried" / ("part" if file == name else "") / file)
        done = damage(random_, tmp_path / "tried" / "part")
        for left in (tmp_path / "tried" / "part").iterdir():
            shutil.move(left, tmp_path / "tried" / left.name)
        try:
            assert losses(tmp_path / "tried") == good or name == "config.toml", done
        except Refused:
            refused += 1
    assert refused > 10
