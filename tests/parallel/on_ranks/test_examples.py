"""The files of `examples/`, each as its page says, in few epochs."""

import csv
import json

import keras
import numpy as np
import pytest

import hvd_ae
from examples import callback, learner, study, task
from hvd_ae.training.checkpointing.names import checkpoints
from tests.parallel.on_ranks.test_laws import shared_folder

pytestmark = pytest.mark.jobs("mpi-2")


@pytest.fixture
def folder(comm, tmp_path_factory):
    return shared_folder(comm, tmp_path_factory)


def short(folder, **changes):
    return {"run_dir": str(folder / "run"), "epochs": 2, "stall_timeout": 0, "quiet": True, **changes}


@pytest.mark.soak
def test_a_model(comm, folder):
    summary = hvd_ae.train(hvd_ae.TrainSettings(**short(folder, model="examples.model:build")), comm).summary
    assert summary["in_sync"] and summary["val_mse"] < 0.2
    if comm.world.is_root:
        assert keras.saving.load_model(folder / "run/encoder.keras").output_shape == (None, 16)


@pytest.mark.soak
def test_a_callback(comm, folder):
    summary = callback.main(comm, **short(folder)).summary
    if comm.world.is_root:
        with open(folder / "run/table.csv", newline="") as file:
            rows = [list(map(float, row)) for row in csv.reader(file)]
        assert [row[0] for row in rows] == [1, 2] and rows[-1][2] == summary["val_loss"]
        [newest, _] = checkpoints(folder / "run/checkpoints")
        manifest = json.loads((newest / "manifest.json").read_text())["content"]
        assert manifest["callbacks"]["table"] == {"first_loss": rows[0][1]}


def test_a_task(comm, folder):
    """Codes learn to find their copies: better than by chance among the 64 samples of a batch."""
    assert task.main(comm, **short(folder, batch_size=64, epochs=3)).summary["val_loss"] < 0.9 * np.log(64)


@pytest.mark.soak
def test_a_learner_with_two_optimizers_goes_on_with_both(comm, folder, monkeypatch):
    whole = learner.main(comm, **short(folder / "whole")).summary
    learner.main(comm, **short(folder, epochs=1))
    resumed = learner.main(comm, **short(folder, resume=True)).summary
    assert whole["in_sync"] and resumed["weights_checksum"] == whole["weights_checksum"]
    if comm.world.is_root:
        kept = {path.stem for path in checkpoints(folder / "run/checkpoints")[0].glob("critic_*.npy")}
        assert len(kept) == 2  # its velocity and its count
    with pytest.raises(hvd_ae.Refused, match="of which this learner has two kinds"):
        learner.main(comm, **short(folder / "sharded", averaging="sharded"))


@pytest.mark.soak
def test_a_study(comm, folder):
    results, best = study.main(comm, trials=2, folder=str(folder), epochs=1, stall_timeout=0)
    assert results[0][0] < results[1][0] and best.summary["val_mse"] < results[0][0]
    assert best.summary["best_epoch"] == study.LONG
