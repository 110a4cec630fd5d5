"""Normalized trainings: laws 1, 4, 7 and 9, what is missing, and what saved models take and give."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import SAMPLES, Splits
from hvd_ae.errors import Refused
from hvd_ae.runs.outcome import in_raw_units_of, save_models
from hvd_ae.tasks.losses import losses_for
from hvd_ae.training.checkpointing.restore import restore_newest
from hvd_ae.training.checkpointing.save import save
from hvd_ae.training.saved_model import check_saved_model
from hvd_ae.training.session import Session
from tests.parallel.on_ranks.blocks import STARTS, Blocks
from tests.parallel.on_ranks.test_laws import shared_folder
from tests.parallel.on_ranks.training import parameters, settings

RANDOM = np.random.default_rng(29)
# of all ranks: features of different size and place, one of which is constant
VALUES = (RANDOM.gamma(2.0, 1.0, (241, 4)) * [1.0, 30.0, 0.01, 0.0] + [0.0, 500.0, 0.0, 3.0]).astype(np.float32)
TRAIN, VALIDATION = VALUES[:211], VALUES[211:]
HOLES = np.where(RANDOM.random(VALUES.shape) < 0.2, np.nan, VALUES).astype(np.float32)
HOLES[[5, 215]] = np.nan  # samples of which nothing is there
ALONE = SingleCommunicator()


def splits(values=VALUES, blocks=False):
    train = Blocks(values[:211]) if blocks else from_arrays("arrays", values[:211])
    return Splits(train, from_arrays("validation", values[211:]))


def given(**changes):
    return settings(**{"data": "made up", "epochs": 2, "learning_rate": 0.05, **changes})


def trained(comm, source, **changes):
    with Session(given(**changes), comm, source) as session:
        return session, session.run()


@pytest.mark.jobs("mpi-3", "horovod-2")
@pytest.mark.parametrize("missing", ["refuse", "mean"])
def test_laws_7_and_9_statistics_have_the_same_bits_on_any_ranks_and_from_any_format(comm, missing, monkeypatch):
    monkeypatch.setattr("hvd_ae.data.statistics._SAMPLES", 7)  # many stretches
    monkeypatch.setattr("hvd_ae.data.statistics._GROUPS", 10)
    values = VALUES if missing == "refuse" else HOLES
    chosen = given(normalize="robust", missing=missing)
    digests = {Session(chosen, engine, splits(values, blocks)).statistics.digest
               for engine in (comm, ALONE) for blocks in (False, True)}
    of_ranks = comm.all_gather(np.array([int(digest[:12], 16) for digest in digests], np.int64)).numpy()
    assert len(digests) == len(set(of_ranks)) == 1


@pytest.mark.jobs("mpi-3")
def test_every_block_is_decoded_once_for_the_moments(comm):
    source = splits(blocks=True)
    Session(given(normalize="standard"), comm, source)
    decoded = comm.all_gather(np.array(source.train.decoded, np.int64)).numpy()
    # looked at besides: some for the fingerprint, one a rank before the first step, and what lies across two ranks' shares
    assert set(decoded) == set(range(len(STARTS))) and len(decoded) <= len(STARTS) + 6 * comm.world.size


@pytest.mark.parametrize("normalize, missing", [
    pytest.param("standard", "refuse", marks=pytest.mark.soak),
    pytest.param("log1p+standard", "mean", marks=pytest.mark.jobs("mpi-2"))])
def test_law_1_normalized(comm, normalize, missing):
    values = VALUES if missing == "refuse" else HOLES
    changes = {"normalize": normalize, "missing": missing}
    session, reports = trained(comm, splits(values), **changes)
    alone, expected = trained(ALONE, splits(values), **changes, batch_size=6 * comm.world.size)
    np.testing.assert_allclose(parameters(session), parameters(alone), rtol=2e-5, atol=2e-6)
    for name in ("train_loss", "val_loss", "val_mse"):
        assert getattr(reports[-1], name) == pytest.approx(getattr(expected[-1], name), rel=1e-4)


@pytest.mark.jobs("mpi-2")
@pytest.mark.parametrize("strategy", ["server", pytest.param("sharded", marks=pytest.mark.soak)])
def test_other_strategies_train_on_what_is_missing_too(comm, strategy):
    session, reports = trained(comm, splits(HOLES), normalize="standard", missing="mean", averaging=strategy)
    assert np.isfinite(parameters(session)).all()
    assert reports[-1].val_loss < reports[0].val_loss


PLAIN_KERAS = """
import json, sys
import keras, numpy as np
values = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    model, encoder = (keras.saving.load_model(f"{folder}/{name}.keras", compile=False) for name in ("model", "encoder"))
    np.save(f"{folder}/outputs.npy", model.predict(values, verbose=0))
    np.save(f"{folder}/codes.npy", encoder.predict(values, verbose=0))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("hvd_ae"))))
"""


def by_plain_keras(folders, values):
    """Outputs and codes of saved models in a process that has never heard of this package."""
    np.save(folders[0] / "values.npy", values)
    ended = subprocess.run([sys.executable, "-c", PLAIN_KERAS, str(folders[0] / "values.npy"), *map(str, folders)],
                           cwd=folders[0], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout.splitlines()[-1]) == []
    return [(np.load(folder / "outputs.npy"), np.load(folder / "codes.npy")) for folder in folders]


def written(session, folder):
    learner = session.learner
    vectors = [vector.numpy() for vector in session.strategy.result]
    model = learner.flat.write(*vectors, [counter.numpy() for counter in session.strategy.result_counters])
    parts = in_raw_units_of(session.task, session.source.train.fields, model)
    save_models(parts, folder)
    return parts["model"]


@pytest.mark.jobs("single-1")
def test_plain_keras_takes_raw_data_and_gives_raw_units(comm, tmp_path):
    models, values = ("shallow", "tests.parallel.on_ranks.test_statistics:users_own"), HOLES[211:]
    folders, runs = [tmp_path / str(number) for number in range(len(models))], []
    for folder, model in zip(folders, models):
        folder.mkdir()
        runs.append(trained(comm, splits(HOLES), normalize="log1p+standard", missing="mean", model=model, epochs=3))
        written(runs[-1][0], folder)
    for (session, reports), (outputs, codes) in zip(runs, by_plain_keras(folders, values)):
        by = session.source.train.fields[SAMPLES].normalization
        inner = session.learner.flat.keras_model
        np.testing.assert_allclose(outputs, by.restored(inner.predict(by.seen(values), verbose=0)), rtol=1e-4, atol=1e-5)
        assert codes.shape[0] == len(values) and np.isfinite(codes).all()
        assert reports[-1].val_mse == pytest.approx(nan_mse(values, outputs), rel=1e-4)


def users_own(sample_shape):
    return keras.Sequential([
        keras.Input(sample_shape),
        keras.layers.Dense(8, activation="tanh"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(2, name="code", kernel_regularizer=keras.regularizers.L2(1e-3)),
        keras.layers.Dense(4),
    ])


def nan_mse(values, outputs):
    """Mean over samples of the mean over the features that are there; a sample without any is none."""
    squares = np.square(values.astype(np.float64) - outputs)
    there = ~np.isnan(squares)
    some = there.any(axis=1)
    return np.mean(np.where(there, squares, 0.0).sum(axis=1)[some] / there.sum(axis=1)[some])


@pytest.mark.jobs("mpi-2")
@pytest.mark.parametrize("normalize", [pytest.param("robust", marks=pytest.mark.soak), "log1p+standard"])
def test_what_is_reported_is_what_the_saved_model_gives(comm, tmp_path_factory, normalize):
    """val_mse in raw units, val_loss in normalized ones; and the check of the file that every run ends with holds."""
    folder = shared_folder(comm, tmp_path_factory)
    session, reports = trained(comm, splits(), normalize=normalize, batch_size=15)  # the check looks at 30: all of them
    if comm.world.is_root:
        written(session, folder)
        by = session.source.train.fields[SAMPLES].normalization
        outputs = keras.saving.load_model(folder / "model.keras", compile=False).predict(VALIDATION, verbose=0)
    check_saved_model(session, folder / "model.keras")
    if comm.world.is_root:
        assert reports[-1].val_mse == pytest.approx(nan_mse(VALIDATION, outputs), rel=1e-3)
        assert reports[-1].val_loss == pytest.approx(nan_mse(by.seen(VALIDATION), by.seen(outputs)), rel=1e-3)


@pytest.mark.parametrize("normalize", [pytest.param("standard", marks=pytest.mark.soak),
                                       pytest.param("robust", marks=pytest.mark.jobs("mpi-2"))])
def test_law_4_a_normalized_run_goes_on_and_other_data_are_refused(comm, tmp_path_factory, normalize):
    folder = shared_folder(comm, tmp_path_factory)

    def run(values=HOLES, resume=False, known=None, **changes):
        chosen = given(normalize=normalize, missing="mean", resume=resume, run_dir="none", **changes)
        with Session(chosen, comm, splits(values), statistics=known) as session:
            if resume:
                restore_newest(session, folder)
            session.run()
            if changes:
                save(session, folder, keep=2)
        return session

    whole, begun = run(), run(steps=5)
    other = HOLES.copy()
    other[50, 1] += 1.0  # which no fingerprint sees
    with pytest.raises(Refused, match="training samples had other statistics: data='made up' has changed"):
        run(other, resume=True)
    # what is kept beside the run is not measured again
    known = begun.statistics if comm.world.is_root else None
    measured = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hvd_ae.training.normalizing.measure", lambda *args: measured.append(args))
        again = run(resume=True, known=known)
    assert not measured and again.statistics.digest == begun.statistics.digest
    np.testing.assert_array_equal(parameters(again), parameters(whole))


@pytest.mark.jobs("mpi-2")
def test_refusals(comm):
    with pytest.raises(Refused, match=r"holds values from -?[\d.]+ to [\d.]+, once they are normalized, but loss='bce'"):
        Session(given(normalize="standard", loss="bce"), comm, splits())
    with pytest.raises(Refused, match="once they are normalized, but a sigmoid output stays within 0 to 1: use"):
        Session(given(normalize="standard", output_activation="sigmoid"), comm, splits())
    wider = np.concatenate([TRAIN, VALIDATION * 2])
    Session(given(normalize="minmax"), comm, splits(wider))  # validation samples may lie outside
    with pytest.raises(Refused, match="but loss='bce' is defined within 0 to 1: use --normalize minmax"):
        Session(given(normalize="minmax", loss="bce"), comm, splits(wider))
    with pytest.raises(Refused, match="'arrays' holds nan in sample .*, feature .*: every value must be finite"):
        Session(given(normalize="standard"), comm, splits(HOLES))
    with pytest.raises(Refused, match="'validation' holds -4.0 in sample 3, feature 1: a logarithm of 1"):
        bad = VALUES.copy()
        bad[214, 1] = -4.0
        Session(given(normalize="log1p"), comm, splits(bad))


@pytest.mark.jobs("single-1")
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_masked_losses_and_gradients_against_a_formula(comm, loss):
    targets, outputs = RANDOM.random((5, 3, 2)), RANDOM.uniform(0.1, 0.9, (5, 3, 2))
    targets[RANDOM.random(targets.shape) < 0.4] = np.nan
    targets[2] = np.nan
    given_ = tf.constant(outputs, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given_)
        found = losses_for("mean")[loss](tf.constant(targets, tf.float32), given_)
    gradient = tape.gradient(found, given_).numpy()
    if loss == "mse":
        of_each, slope = np.square(targets - outputs), 2 * (outputs - targets)
    else:
        of_each = -targets * np.log(outputs) - (1 - targets) * np.log(1 - outputs)
        slope = (outputs - targets) / (outputs * (1 - outputs))
    count = np.maximum((~np.isnan(targets)).sum(axis=(1, 2)), 1)
    np.testing.assert_allclose(found, np.nansum(of_each, axis=(1, 2)) / count, rtol=1e-5)
    np.testing.assert_allclose(gradient, np.nan_to_num(slope) / count[:, None, None], rtol=1e-4)
    whole = np.where(np.isnan(targets), 0.5, targets).astype(np.float32)
    np.testing.assert_allclose(losses_for("mean")[loss](whole, given_), losses_for("refuse")[loss](whole, given_), rtol=1e-6)


@pytest.mark.jobs("mpi-2")
def test_a_users_task_says_which_fields_are_normalized(comm):
    from hvd_ae.tasks.reconstruction import Reconstruction

    class AsItIs(Reconstruction):
        normalized = ()

    chosen = given(normalize="standard", output_activation="linear")
    session = Session(chosen, comm, splits(), AsItIs(dataclasses.replace(chosen, output_activation="linear")))
    assert session.source.train.fields[SAMPLES].normalization is None and session.statistics is None
    session = Session(chosen, comm, splits(), Reconstruction(chosen))
    assert session.source.train.fields[SAMPLES].normalization is not None
