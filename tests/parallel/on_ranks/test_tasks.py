"""Every task on ranks: what is drawn is the same on any number of them, so that the laws hold for tasks that draw too."""

import numpy as np
import pytest

from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.training import execution
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.test_laws import assert_same_bytes, shared_folder, stopped_at
from tests.parallel.on_ranks.training import alone, parameters, settings, train

TINY = {"model": "dense", "widths": "6", "code": 3, "optimizer": "adam", "learning_rate": 0.01, "epochs": 2}
VARIATIONAL = {"task": "variational", "loss": "bce", "beta_warmup": 2.0, "condition": "labels", **TINY}
DENOISING = {"task": "denoising", "noise": "gaussian:0.2,mask:0.2,salt:0.1", "loss": "mae", **TINY}

pytestmark = pytest.mark.jobs("mpi-2")


def assert_same_curve(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        mine, other = mine.record(), other.record()
        for name in (name for name in mine if name.startswith("val_") or name == "train_loss"):
            assert mine[name] is other[name] is None or mine[name] == pytest.approx(other[name], rel=1e-4), name


@pytest.mark.parametrize("averaging, changes", [
    pytest.param("gradient", VARIATIONAL, marks=pytest.mark.jobs("mpi-3")),
    pytest.param("sharded", DENOISING, marks=pytest.mark.soak)], ids=["variational", "denoising"])
def test_laws_1_3_and_10(comm, averaging, changes):
    """As on one rank with one large batch: noise and codes are drawn for samples, whoever has them."""
    together, reports = train(comm, batch_size=6, averaging=averaging, **changes)
    single, expected = alone(batch_size=6 * comm.world.size, **changes)
    assert_same_curve(reports, expected)
    np.testing.assert_allclose(parameters(together), parameters(single), atol=2e-4)
    assert_same_bytes(comm, together)
    assert all(report.in_sync for report in reports)


@pytest.mark.soak
@pytest.mark.jobs("mpi-3")
@pytest.mark.ranks(3)
def test_a_variational_run_goes_on_with_the_same_curve_on_fewer_ranks(comm, tmp_path_factory, monkeypatch):
    """Three ranks stop in the middle of an epoch; two, with as large a global batch, end as three would have."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder = shared_folder(comm, tmp_path_factory)
    _, expected = alone(batch_size=18, **VARIATIONAL)
    stopped_at(8, folder, comm, {"batch_size": 6, **VARIATIONAL})
    groups, ended = comm.split([[0, 1], [2]]), []
    if comm.world.rank < 2:
        with Session(settings(batch_size=9, **VARIATIONAL), groups) as resumed:
            restore_newest(resumed, folder)
            ended = resumed.run()
    comm.barrier()
    if comm.world.rank < 2:
        assert_same_curve(ended, expected[1:])


@pytest.mark.soak
def test_law_4(comm, tmp_path_factory, monkeypatch):
    """Stopped in mid-epoch and gone on by as many ranks: the same bits."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    folder = shared_folder(comm, tmp_path_factory)
    changes = {"averaging": "parameter", "sync_every": 4, **VARIATIONAL}
    whole, reports = train(comm, **changes)
    stopped_at(11, folder, comm, changes)
    with Session(settings(**changes), comm) as resumed:
        restore_newest(resumed, folder)
        resumed_reports = resumed.run()
    np.testing.assert_array_equal(parameters(resumed), parameters(whole))
    assert resumed_reports[-1].val_loss == reports[-1].val_loss
    assert_same_bytes(comm, whole)


@pytest.mark.parametrize("averaging", [  # the server alone passes batches on in its own way
    pytest.param(name, marks=[] if name == "server" else [pytest.mark.soak])
    for name in STRATEGIES if name not in ("gradient", "sharded", "parameter")])
def test_every_strategy_trains_a_variational_autoencoder(comm, averaging):
    _, reports = train(comm, averaging=averaging, steps=4, **{**VARIATIONAL, "condition": None})
    record = reports[-1].record()
    assert np.isfinite(record["val_elbo"]) and record["val_kl"] > 0
    assert record["in_sync"] is (None if averaging == "none" else True)


@pytest.mark.parametrize("changes", [{"task": "classification"},
                                     {"loss": "zinb", "code_l1": 0.01, "model": "conv", "widths": "3"}],
                         ids=["classification", "zinb-conv-sparse"])
def test_other_tasks_are_the_same_on_any_number_of_ranks(comm, changes):
    changes = {**TINY, "epochs": 1, **changes}
    _, reports = train(comm, batch_size=9, **changes)
    _, expected = alone(batch_size=9 * comm.world.size, **changes)
    assert_same_curve(reports, expected)
    assert reports[-1].in_sync


EVERY_TASK = {
    "sparse": {"code_l1": 0.01},
    "denoising": DENOISING,
    "measured pairs": {"task": "denoising", "inputs": "noisy", "targets": "clean"},
    "conditional": {"condition": "labels"},
    "counts": {"loss": "zinb", "data": "counts", "normalize": "log1p"},
    "variational": VARIATIONAL,
    "supervised": {"task": "supervised", "targets": "sums"},
    "classification": {"task": "classification"},
}


@pytest.fixture
def of_task(comm, tmp_path_factory):
    """What a task is told, its data lying in a file where they have to: 107 training samples, and 11 to validate."""
    folder, random = shared_folder(comm, tmp_path_factory), np.random.default_rng(1)
    clean = random.random((118, 5)).astype(np.float32)
    if comm.world.is_root:
        np.savez(folder / "data.npz", noisy=clean + 0.1 * random.normal(size=clean.shape).astype(np.float32), clean=clean)
        np.savez(folder / "sums.npz", x=clean, sums=np.cumsum(clean, axis=1)[:, 1:4])
        np.save(folder / "counts.npy", random.poisson(5 * clean).astype(np.float32))
    comm.barrier()

    def told(task):
        file = {"measured pairs": "data.npz", "supervised": "sums.npz", "counts": "counts.npy"}.get(task)
        return {**TINY, **EVERY_TASK[task], **({"data": str(folder / file), "normalize": "minmax"} if file else {}),
                **({"normalize": "log1p"} if task == "counts" else {})}

    return told


@pytest.mark.soak
@pytest.mark.jobs("mpi-2", "mpi-3")
@pytest.mark.parametrize("averaging", ["gradient", "sharded", "parameter"])
@pytest.mark.parametrize("task", EVERY_TASK)
def test_laws_1_to_4_of_every_task(comm, tmp_path_factory, monkeypatch, of_task, task, averaging):
    """And the proof, at every epoch. Of parameters averaged at every step law 2 says that SGD is as on one rank."""
    monkeypatch.setattr(execution, "_STEPS_PER_CALL", 1)
    changes = {**of_task(task), "averaging": averaging}
    if averaging == "parameter":
        changes |= {"optimizer": "sgd", "learning_rate": 0.001 if task == "variational" else 0.05, "sync_every": 1}
    on_one = {name: value for name, value in changes.items() if name not in ("averaging", "sync_every")}
    together, reports = train(comm, batch_size=6, **changes)
    single, expected = alone(batch_size=6 * comm.world.size, **on_one)
    assert_same_curve(reports, expected)
    np.testing.assert_allclose(parameters(together), parameters(single), atol=2e-4)
    assert_same_bytes(comm, together)
    assert all(report.in_sync for report in reports)

    folder = shared_folder(comm, tmp_path_factory)
    if averaging == "parameter":
        changes |= {"sync_every": 4, "optimizer": "adam"}
        together, reports = train(comm, batch_size=6, **changes)
    stopped_at(together.steps_per_epoch + 2, folder, comm, {"batch_size": 6, **changes})
    with Session(settings(batch_size=6, **changes), comm) as resumed:
        restore_newest(resumed, folder)
        resumed_reports = resumed.run()
    np.testing.assert_array_equal(parameters(resumed), parameters(together))
    assert resumed_reports[-1].val_loss == reports[-1].val_loss
    assert_same_bytes(comm, resumed)
    assert all(report.in_sync for report in [*reports, *resumed_reports])
