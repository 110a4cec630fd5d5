"""Checkpoints that are damaged or cannot be written: a clear sentence or the right state, and never less than before."""

import random
import shutil
import sys

import numpy as np
import pytest

from hvd_ae.collectives.single import SingleEngine
from hvd_ae.config import TrainSettings
from hvd_ae.errors import Refused
from hvd_ae.training.checkpoint import save
from hvd_ae.training.loop import Loop
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import prepare
from hvd_ae.training.resume import restore_newest
from tests.damage import damage
from tests.launch import HVD_AE, run, succeeded

SETTINGS = TrainSettings(data="synthetic:60x16", model="shallow", epochs=2, batch_size=8, optimizer="adam")


def values(way):
    return {name: vector.numpy() for name, vector in way.vectors.items()}


@pytest.mark.timeout(600)
def test_a_thousand_damaged_checkpoints_are_refused_or_right(tmp_path):
    """Two checkpoints, the newer one damaged: what is restored is one of the two, to the last bit."""
    prepared = prepare(SETTINGS.effective(), SingleEngine())
    loop, states = Loop(prepared, Position()), {}
    for progress in loop.run():
        if progress.report:
            save(prepared, progress.position, tmp_path / "good", keep=2)
            states[progress.position.step] = values(prepared.way)
    older, newer = sorted(states)
    random_, passed_over = random.Random(7), 0
    for _ in range(1000):
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "tried")
        done = damage(random_, tmp_path / "tried" / f"step-{newer:08d}")
        try:
            found = restore_newest(prepared, tmp_path / "tried")
        except Refused as refusal:  # a whole manifest of something else
            raise AssertionError(f"{done}: {refusal}") from None
        assert found.position.step in (older, newer), done
        assert (found.position.step == older) == bool(found.bad), done
        for name, value in values(prepared.way).items():
            np.testing.assert_array_equal(value, states[found.position.step][name], err_msg=f"{done}: {name}")
        passed_over += bool(found.bad)
    assert passed_over > 500
    print(f"1000 damaged checkpoints: {passed_over} passed over by name for the one before, {1000 - passed_over} unharmed "
          "(a swap with itself, a cut of nothing) and right")


def test_a_full_disk_ends_the_run_in_one_sentence_and_costs_no_checkpoint(tmp_path):
    """No file may grow beyond 10 kB: a first run with small vectors, then one that has no room for its checkpoint."""
    command = [HVD_AE, "train", "--model", "shallow", "--epochs", "1", "--run-dir", str(tmp_path / "run")]
    succeeded(run(command))
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()}
    limited = ("import resource, signal, sys, hvd_ae.cli; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
               "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)); sys.exit(hvd_ae.cli.main())")
    ended = run([sys.executable, "-c", limited, *command[1:-4], "--epochs", "3", *command[-2:], "--resume"])
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"hvd-ae: no checkpoint: {tmp_path}/run/checkpoints/step-00000024.partial/parameters.npy cannot be written (File too "
        "large); make room, or another --run-dir, and go on from the last good checkpoint with --resume")
    after = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()}
    assert after == before
    succeeded(run([*command, "--resume"]))
