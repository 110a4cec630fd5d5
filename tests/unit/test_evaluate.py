"""What a finished run's model is said to lose."""

import json

import keras
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


@pytest.mark.parametrize("config", ['task = "classification"', 'task = "supervised"\ntargets = "y"'])
def test_what_gives_no_samples_back_is_not_written_as_such(tmp_path, config):
    keras.Sequential([keras.Input((16,)), keras.layers.Dense(16)]).save(tmp_path / "model.keras")
    (tmp_path / "config.toml").write_text(f'data = "synthetic:200x16"\ncollectives = "single"\n{config}\n')
    output = tmp_path / "again.npy"
    with pytest.raises(Refused, match="gives no samples back"):
        reconstruct(ReconstructSettings(str(tmp_path), data="synthetic:200x16", output=str(output)))
    assert not output.exists()
