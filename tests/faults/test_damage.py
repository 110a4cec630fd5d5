"""Checkpoints that are damaged or cannot be written: a clear sentence or the right state, and never less than before."""

import random
import shutil
import sys

import numpy as np
import pytest

from hvd_ae.cli import main
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.errors import Refused
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.session import Session
from tests.damage import damage
from tests.launch import run

SETTINGS = TrainSettings(data="synthetic:60x16", model="shallow", epochs=2, batch_size=8, optimizer="adam")


def values(strategy):
    return {name: vector.numpy() for name, (vector, *_) in strategy.state.items()}


class SavesEachEpoch(Callback):
    def __init__(self, folder):
        self.folder, self.states = folder, {}  # what was saved, by step

    def on_epoch(self, session, record):
        save(session, self.folder, keep=2)
        self.states[session.cursor.step] = values(session.strategy)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("damaged", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_damaged_checkpoints_are_refused_or_right(tmp_path, damaged):
    """Two checkpoints, the newer one damaged: what is restored is one of the two, to the last bit."""
    saves = SavesEachEpoch(tmp_path / "good")
    session = Session(SETTINGS.resolved(), SingleCommunicator(), callbacks=[saves])
    session.run()
    older, newer = sorted(saves.states)
    random_, passed_over = random.Random(7), 0
    for _ in range(damaged):
        shutil.rmtree(tmp_path / "tried", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "tried")
        done = damage(random_, tmp_path / "tried" / f"step-{newer:08d}")
        try:
            found = restore_newest(session, tmp_path / "tried")
        except Refused as refusal:  # a whole manifest of something else
            raise AssertionError(f"{done}: {refusal}") from None
        assert found.cursor.step in (older, newer), done
        assert (found.cursor.step == older) == bool(found.bad), done
        for name, value in values(session.strategy).items():
            np.testing.assert_array_equal(value, saves.states[found.cursor.step][name], err_msg=f"{done}: {name}")
        passed_over += bool(found.bad)
    assert passed_over > damaged / 2
    print(f"{damaged} damaged checkpoints: {passed_over} passed over by name, {damaged - passed_over} unharmed "
          "(a swap with itself, a cut of nothing) and right")


FILLS = """
import resource, shutil, signal, sys
from hvd_ae.cli import main

folder, *command = sys.argv[1:]
assert main([*command, "--epochs", "1"]) == 0
shutil.copytree(f"{folder}/run/checkpoints", f"{folder}/before")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(main([*command, "--epochs", "3", "--resume"]))
"""


def test_a_full_disk_ends_the_run_in_one_sentence_and_costs_no_checkpoint(tmp_path):
    """No file may grow beyond 10 kB, when one checkpoint is there and the next, of larger vectors, is to be written."""
    command = ["train", "--data", "synthetic:400x64", "--model", "shallow", "--run-dir", str(tmp_path / "run")]
    script = tmp_path / "fills.py"
    script.write_text(FILLS)
    # what Keras says of NumPy when the first run's model is saved is not what is looked at here
    ended = run([sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(tmp_path), *command])
    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"hvd-ae: no checkpoint: {tmp_path}/run/checkpoints/step-00000006.partial/parameters.npy cannot be written (File too "
        "large); make room, or another --run-dir, and go on from the last good checkpoint with --resume")
    before, after = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                     for folder in (tmp_path / "before", tmp_path / "run" / "checkpoints"))
    assert before and after == before
    assert main([*command, "--epochs", "2", "--resume"]) == 0
