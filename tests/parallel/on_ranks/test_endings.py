"""When a training ends of itself: after epochs without improvement, and when its time is over."""

import numpy as np
import pytest

from hvd_ae.training import execution
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.session import Session
from hvd_ae.training.time_limit import TimeLimit
from tests.parallel.on_ranks.test_laws import assert_same_bytes, shared_folder, stopped_at
from tests.parallel.on_ranks.training import settings

pytestmark = pytest.mark.jobs("mpi-2")


def test_early_stopping_ends_after_the_same_epoch_when_a_run_goes_on(comm, tmp_path_factory, monkeypatch):
    """By more than this loss can fall: the first epoch stays the best, and the third is the second that is not better."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder, changes = shared_folder(comm, tmp_path_factory), {"epochs": 9, "patience": 2, "min_delta": 5.0}
    with Session(settings(**changes), comm) as whole:
        reports = whole.run()
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert whole.stop_reason == f"val_loss has not fallen for 2 epochs: it was lowest at {reports[0].val_loss:.6g}"
    stopped_at(2 * whole.steps_per_epoch + 2, folder, comm, changes)
    with Session(settings(**changes), comm) as resumed:
        restore_newest(resumed, folder)
        assert [report.epoch for report in resumed.run()] == [3] and resumed.stop_reason == whole.stop_reason
        save(resumed, folder, keep=1)
    with Session(settings(**changes), comm) as ended:  # killed before the models were written
        restore_newest(ended, folder)
        assert ended.run() == [] and ended.stop_reason == whole.stop_reason
    with Session(settings(**{**changes, "patience": 3}), comm) as longer:
        restore_newest(longer, folder)
        assert [report.epoch for report in longer.run()] == [4]


@pytest.mark.parametrize("changes", [
    pytest.param({}, marks=pytest.mark.soak), {"averaging": "parameter", "sync_every": 4}], ids=["gradient", "parameter"])
def test_time_is_over_for_all_ranks_together(comm, tmp_path_factory, monkeypatch, changes):
    """One rank's clock says so first; ranks synchronize there, within an epoch, and what is left of it comes later."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder, last = shared_folder(comm, tmp_path_factory), comm.world.size - 1
    ticks = iter(range(1000)) if comm.world.rank == last else iter([0.0] * 1000)
    with Session(settings(epochs=2, patience=1, **changes), comm,
                 callbacks=[TimeLimit(8 / 60, lambda: float(next(ticks)))]) as session:
        reports = session.run()
        assert session.cursor.step == session.cursor.step_in_epoch + 6 if session.cursor.epoch else True
        save(session, folder, keep=1)
    assert_same_bytes(comm, session)
    assert reports[-1].step == session.cursor.step and session.stop_reason == "0.133333 minutes are over"
    assert session.cursor.step < 2 * session.steps_per_epoch
    with Session(settings(epochs=2, patience=9, **changes), comm) as resumed:
        restore_newest(resumed, folder)
        more = resumed.run()
    assert [more[-1].epoch, more[-1].samples] == [2, 2 * 107]
    assert np.isfinite(more[-1].val_loss)
