"""Batch statistics over ranks: as one process has them of the large batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.errors import Refused
from hvd_ae.models.batch_statistics import BatchStatistics
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import assert_same_bytes
from tests.parallel.on_ranks.training import alone, parameters, settings, train

MODELS = "tests.parallel.on_ranks.models:"
TRAINING = {"model": f"{MODELS}batch_normalised", "learning_rate": 0.1, "epochs": 2}

pytestmark = pytest.mark.jobs("mpi-3", "horovod-2")


@pytest.mark.parametrize("averaging", ["gradient", pytest.param("sharded", marks=pytest.mark.soak)])
def test_law_1_with_batch_normalization(comm, averaging):
    """107 samples in batches of 15: in the last step of each epoch two ranks have one sample, and the third none."""
    together, reports = train(comm, batch_size=5, sync_batch_norm=True, averaging=averaging, **TRAINING)
    single, expected = alone(batch_size=5 * comm.world.size, **TRAINING)
    assert_same_bytes(comm, together)
    np.testing.assert_allclose(parameters(together), parameters(single), atol=1e-5)
    np.testing.assert_allclose(together.learner.buffers, single.learner.buffers, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(reports, expected, strict=True):
        assert (ours.train_loss, ours.val_mse) == pytest.approx((theirs.train_loss, theirs.val_mse), rel=1e-5)
    start = Session(settings(**TRAINING), SingleCommunicator())
    assert np.abs(parameters(single) - parameters(start)).max() > 0.01


def test_a_mask_leaves_out_what_is_hidden(comm):
    """And the moments are those of NumPy, of all ranks' steps that are not hidden."""
    layer = keras.layers.BatchNormalization(momentum=0.0)
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Masking(), layer])
    random = np.random.default_rng(0)
    values = random.normal(3.0, size=(comm.world.size, 5, 4, 2)).astype(np.float32)
    values[random.random(values.shape[:3]) < 0.3] = 0.0

    @tf.function
    def trained(inputs):
        with BatchStatistics(comm).used_by(model):
            return model(inputs, training=True)

    trained(values[comm.world.rank])
    shown = values[np.any(values != 0.0, axis=-1)]
    np.testing.assert_allclose(layer.moving_mean, shown.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, shown.var(axis=0), rtol=1e-4)
    assert "_moments" not in vars(layer)


@pytest.mark.jobs("mpi-3")
def test_synchronized_layers_are_never_passed_over(comm):
    with pytest.raises(Refused, match="sync_batch_norm=True has no effect with model='shallow'"):
        Session(settings(sync_batch_norm=True), comm)
    with pytest.raises(Refused, match="has a BatchNormalization\\(synchronized=True\\).*use --sync-batch-norm"):
        Session(settings(model=f"{MODELS}synchronized"), comm)
