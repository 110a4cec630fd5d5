"""What a finished run's model is said to lose."""

import json

import keras
import numpy as np
import pytest

from hvd_ae.commands.evaluate import evaluate
from hvd_ae.commands.reconstruct import reconstruct
from hvd_ae.errors import Refused
from hvd_ae.settings.commands import EvaluateSettings, ReconstructSettings


def test_penalties_of_layers_belong_to_the_loss_and_not_to_the_error(tmp_path, capsys):
    """A kernel's L2 and what a layer adds by add_loss, as training reports them; parts of a batch weigh by their samples."""
    layers = [keras.Input((16,)), keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1)),
              keras.layers.ActivityRegularization(l2=0.0), keras.layers.Dense(16, activation="sigmoid")]
    model = keras.Sequential(layers)
    model.save(tmp_path / "model.keras")
    (tmp_path / "config.toml").write_text('data = "synthetic:200x16"\nloss = "mse"\ncollectives = "single"\n')
    evaluate(EvaluateSettings(str(tmp_path), batch_size=7))
    found = json.loads(capsys.readouterr().out)
    penalty = 0.1 * float(keras.ops.sum(keras.ops.square(model.layers[0].kernel)))
    assert penalty > 0.1
    assert found["val_loss"] - found["val_mse"] == pytest.approx(penalty, rel=1e-5)
    assert (found["samples"], found["ranks"]) == (20, 1)


@pytest.mark.parametrize(("config", "sentence", "also_reconstruct"), [
    ('task = "classification"', "task='classification' gives no samples back", True),
    ('task = "supervised"\ntargets = "y"', "task='supervised' gives no samples back", True),
    ('task = "denoising"\ntargets = "y"', "targets='y' are what this run's outputs are compared with", False),
])
def test_what_is_compared_with_something_else_is_refused_and_not_compared_with_samples(tmp_path, config, sentence,
                                                                                       also_reconstruct):
    keras.Sequential([keras.Input((16,)), keras.layers.Dense(16)]).save(tmp_path / "model.keras")
    (tmp_path / "config.toml").write_text(f'data = "synthetic:200x16"\ncollectives = "single"\n{config}\n')
    with pytest.raises(Refused, match=sentence):
        evaluate(EvaluateSettings(str(tmp_path)))
    output = tmp_path / "again.npy"
    if also_reconstruct:
        with pytest.raises(Refused, match=sentence):
            reconstruct(ReconstructSettings(str(tmp_path), data="synthetic:200x16", output=str(output)))
        assert not output.exists()
    else:
        reconstruct(ReconstructSettings(str(tmp_path), data="synthetic:200x16", output=str(output)))
        assert np.load(output).shape[1:] == (16,)
