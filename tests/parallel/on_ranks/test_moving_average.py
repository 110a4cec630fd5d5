"""A moving average of the parameters, whatever keeps the ranks together."""

import numpy as np
import pytest

from hvd_ae.training import execution
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import assert_same_bytes, shared_folder, stopped_at
from tests.parallel.on_ranks.training import settings

pytestmark = pytest.mark.jobs("mpi-2")
DECAY = 0.8


class OfEachStep(Callback):
    """The mean over ranks of what each holds after a step, which an average leaves as it is."""

    def __init__(self):
        self.parameters = []

    def on_steps(self, session):
        self.parameters.append(session.comm.mean(session.learner.vector.value()).numpy())


@pytest.mark.parametrize("changes", [
    {"averaging": "sharded", "optimizer": "adam"}, *(pytest.param(changes, marks=pytest.mark.soak) for changes in (
        {"averaging": "gradient", "optimizer": "adam"}, {"averaging": "parameter", "sync_every": 4})),
], ids=lambda changes: changes["averaging"])
def test_it_is_that_of_the_formula_and_goes_on_after_a_stop(comm, tmp_path_factory, monkeypatch, changes):
    """v = d v + (1 - d) w after each update, begun with the first one's w; ranks have as many samples, so means are plain."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder, seen = shared_folder(comm, tmp_path_factory), OfEachStep()
    changes = {"data": "synthetic:120x4x5", "learning_rate": 0.01, "epochs": 2, "ema": DECAY, **changes}
    with Session(settings(**changes), comm, callbacks=[seen]) as whole:
        reports = whole.run()
    expected = seen.parameters[0].astype(np.float64)
    for parameters in seen.parameters[1:]:
        expected = DECAY * expected + (1 - DECAY) * parameters
    average = whole.strategy.result[0].numpy()
    np.testing.assert_allclose(average, expected, atol=1e-6)
    assert np.abs(average - whole.learner.vector).max() > 1e-4  # which is something else
    assert_same_bytes(comm, whole)
    stopped_at(whole.steps_per_epoch + 2, folder, comm, changes)
    with Session(settings(**changes), comm) as resumed:
        restore_newest(resumed, folder)
        [report] = resumed.run()
    np.testing.assert_array_equal(resumed.strategy.result[0], average)
    assert report.val_mse == reports[-1].val_mse
