"""Learning rates that change: the same on all ranks, whichever of them had samples, and after a resume."""

import numpy as np
import pytest

from hvd_ae.runtime.consensus import same_on_all
from hvd_ae.training import execution
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import shared_folder, stopped_at
from tests.parallel.on_ranks.training import alone, parameters, settings, train

pytestmark = pytest.mark.jobs("mpi-2")
COSINE = {"schedule": "cosine", "warmup_epochs": 0.5}
# lowered after each epoch but the first: at this rate the loss does fall, but by less than is asked for
PLATEAU = {"schedule": "plateau", "decay_factor": 0.25, "decay_epochs": 1, "min_delta": 10.0}


def test_law_1_with_a_cosine_after_a_warm_up(comm):
    together, reports = train(comm, **COSINE)
    single, expected = alone(batch_size=6 * comm.world.size, **COSINE)
    np.testing.assert_allclose(parameters(together), parameters(single), atol=1e-5)
    assert [report.learning_rate for report in reports] == pytest.approx([report.learning_rate for report in expected])
    assert reports[-1].learning_rate < 0.01 < reports[1].learning_rate


@pytest.mark.parametrize("changes", [
    # of three ranks the last has 35 samples, and none in the eighth step
    pytest.param({"averaging": "parameter", "sync_every": 4, "partition": "contiguous", "batch_size": 5},
                 marks=pytest.mark.jobs("mpi-3")),
    {"averaging": "gradient", "accumulate": 3}, {"averaging": "server"},
    pytest.param({"averaging": "sequential", "sync_every": 4}, marks=pytest.mark.soak),
], ids=lambda changes: changes["averaging"])
def test_ranks_are_at_the_same_part_of_a_schedule_in_each_epoch(comm, changes):
    """Though those that had no sample in some steps have made fewer updates; the rate at the end is the formula's."""
    begun, made = [], [0]  # where in the schedule each epoch begins, and this rank's updates before it

    class Noted(Callback):
        def on_steps(self, session):
            if len(begun) == session.cursor.epoch:
                begun.append(int(session.learner.schedule_shift) + made[-1])

        def on_epoch(self, session, record):
            made.append(session.learner.updates)

    with Session(settings(schedule="linear", **changes), comm, callbacks=[Noted()]) as session:
        reports = session.run()
    assert same_on_all(comm, np.array(begun)) and begun == [session.updates_per_epoch * epoch for epoch in range(3)]
    total = 3 * session.updates_per_epoch
    assert [report.learning_rate for report in reports] == pytest.approx(
        [0.5 * (1 - (epoch * session.updates_per_epoch - 1) / total) for epoch in (1, 2, 3)], rel=1e-4)
    uneven = comm.maximum_int(int(made[-1] != total))
    assert uneven == (changes["averaging"] in ("parameter", "server"))  # else this test would show nothing


@pytest.mark.parametrize("changes", [
    pytest.param({**COSINE, "averaging": "parameter", "sync_every": 4, "partition": "contiguous", "batch_size": 5},
                 marks=pytest.mark.soak),
    {**PLATEAU, "optimizer": "adam", "learning_rate": 0.01}], ids=["cosine", "plateau"])
def test_law_4_in_the_middle_of_a_schedule(comm, tmp_path_factory, monkeypatch, changes):
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder = shared_folder(comm, tmp_path_factory)
    whole, reports = train(comm, **changes)
    if changes["schedule"] == "plateau":
        assert [report.learning_rate for report in reports] == pytest.approx([0.01, 0.01, 0.0025], rel=1e-5)
    stopped_at(2 * whole.steps_per_epoch + 2, folder, comm, changes)
    with Session(settings(**changes), comm) as resumed:
        restore_newest(resumed, folder)
        [report] = resumed.run()
    np.testing.assert_array_equal(parameters(resumed), parameters(whole))
    assert report.learning_rate == reports[-1].learning_rate
