"""examples/adversarial.py: a task of one's own, with a network more and draws, from the command line's settings."""

import keras
import numpy as np
import pytest

import hvd_ae
from hvd_ae.data.digits import load


def test_codes_become_normal(tmp_path):
    result = hvd_ae.train(hvd_ae.TrainSettings(
        task="examples.adversarial:Adversarial", data="digits", model="dense", widths="32", code=2, batch_size=32,
        learning_rate=0.003, seed=1, epochs=15, collectives="single", checkpoint_every=0, run_dir=str(tmp_path / "run")))
    validation = load("digits", 0).validation
    encoder = keras.saving.load_model(tmp_path / "run" / "encoder.keras")
    codes = np.asarray(encoder(validation.seen(np.arange(validation.count))))
    assert np.abs(codes.mean(axis=0)).max() < 0.7 and codes.std(axis=0).min() > 0.4 and codes.std(axis=0).max() < 1.8
    assert result.summary["val_told_apart"] < 0.8 and result.summary["val_r2"] > 0.2
    assert result.summary["val_reconstruction"] == pytest.approx(result.summary["val_mse"], rel=1e-3)
