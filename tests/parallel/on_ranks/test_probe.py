"""The probe on ranks: components and classifiers against scikit-learn's, every test sample counted once."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hvd_ae.api import train
from hvd_ae.commands.probe import classifiers
from hvd_ae.commands.probe.classifiers import train_fine_tuned, train_linear
from hvd_ae.commands.probe.features import mean_and_variance, principal_components, transformed
from hvd_ae.commands.probe.probe import probe, probe_encoder, with_numbered_labels
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS, SAMPLES, Splits
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import find_encoder
from hvd_ae.models.build import build_model
from hvd_ae.runs.opened import open_run
from hvd_ae.runtime.consensus import broadcast_text
from hvd_ae.runtime.world import World
from hvd_ae.settings.commands import ProbeSettings
from hvd_ae.settings.train import TrainSettings

pytestmark = pytest.mark.jobs("mpi-2")  # the same code whichever engine adds up

SETTINGS = TrainSettings(data="digits", epochs=2, batch_size=32, seed=1).resolved()
DIGITS, _ = with_numbered_labels(load("digits", World()))
SYNTHETIC, _ = with_numbered_labels(load("synthetic:203x4x5", World(), seed=2))  # divides by no number of ranks


def flat(source):
    return source.read_all(SAMPLES).reshape(source.count, -1).astype(np.float64)


@pytest.mark.jobs("mpi-2", "mpi-3", "horovod-2")
def test_components_are_those_of_scikit_learn_up_to_sign(comm):
    ours = principal_components(SYNTHETIC.train, 6, comm)
    theirs = PCA(6, svd_solver="full").fit(flat(SYNTHETIC.train))
    signs = np.sign(np.sum(ours.components * theirs.components_.T, axis=0))
    np.testing.assert_allclose(ours.components * signs, theirs.components_.T, atol=1e-8)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-9)
    values = flat(SYNTHETIC.validation)
    np.testing.assert_allclose(ours.of(values) * signs, theirs.transform(values), atol=1e-7)


@pytest.mark.jobs("mpi-2", "mpi-3", "horovod-2")
def test_what_standardises_is_of_all_ranks_samples(comm):
    mean, variance = mean_and_variance(DIGITS.train, comm)
    scaler = StandardScaler().fit(flat(DIGITS.train))
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(variance, scaler.var_, rtol=1e-9, atol=1e-15)


@pytest.mark.jobs("mpi-2", "mpi-3", "horovod-2")
def test_features_come_in_the_samples_order(comm):
    features = transformed(SYNTHETIC.train, lambda values: values[:, :2, 1], 2, "two of them", comm)
    np.testing.assert_array_equal(features.read_all(SAMPLES), SYNTHETIC.train.read_all(SAMPLES)[:, :2, 1])
    np.testing.assert_array_equal(features.read_all(LABELS), SYNTHETIC.train.read_all(LABELS))


def test_linear_classifier_is_close_to_scikit_learns(comm):
    ours = train_linear(SETTINGS, comm, DIGITS, 10)
    scaler = StandardScaler().fit(flat(DIGITS.train))
    theirs = LogisticRegression(max_iter=1000).fit(scaler.transform(flat(DIGITS.train)), DIGITS.train.read_all(LABELS))
    expected = theirs.score(scaler.transform(flat(DIGITS.validation)), DIGITS.validation.read_all(LABELS))
    assert ours.accuracy == pytest.approx(expected, abs=0.02)
    assert ours.parameters == 65 * 10
    np.testing.assert_array_equal(ours.confusion.sum(axis=1), np.bincount(DIGITS.validation.read_all(LABELS)))


def test_labels_follow_their_samples(comm):
    """Features that are the label, and nothing else to go by: on two ranks shares begin at different labels."""
    labels = np.arange(147) % 7
    values = np.eye(7, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.01, (147, 7)).astype(np.float32)
    source = from_arrays("one-hot", values, labels)
    np.testing.assert_array_equal(train_linear(SETTINGS, comm, Splits(source, source), 7).confusion, 21 * np.eye(7))


@pytest.mark.parametrize("averaging", [pytest.param("gradient", marks=pytest.mark.soak), "parameter"])
def test_fine_tuning_learns(comm, averaging):
    encoder = find_encoder(build_model("deep", (8, 8), "sigmoid", seed=1))
    settings = TrainSettings(data="digits", epochs=6, batch_size=32 // comm.world.size, averaging=averaging).resolved()
    result = train_fine_tuned(settings, comm, DIGITS, encoder, 10)
    assert result.accuracy > 0.9
    assert result.confusion.sum() == 297
    assert result.samples == 6 * 1500


@pytest.mark.soak  # tests/end_to_end/test_docs.py probes a run by all four
def test_a_run_is_probed_by_four_classifiers_of_the_same_samples(comm, tmp_path, monkeypatch):
    def watched(settings, comm, source, encoder, classes):
        values = source.train.read_all(SAMPLES)
        codes = np.asarray(encoder(values))
        result = probe_encoder(settings, comm, source, encoder, classes)
        np.testing.assert_array_equal(np.asarray(encoder(values)), codes)  # it is left as it was
        return result

    monkeypatch.setattr("hvd_ae.commands.probe.probe.probe_encoder", watched)
    monkeypatch.setattr(classifiers, "_EPOCHS", 10)
    run = broadcast_text(comm, str(tmp_path / "run"))
    train(TrainSettings(model="shallow", epochs=2, run_dir=run, collectives=comm.name), comm)
    probe(ProbeSettings(run=run, epochs=1, batch_size=64))
    comm.barrier()
    if comm.world.is_root:
        figures = json.loads((tmp_path / "run" / "probe.json").read_text())
        assert figures["classes"] == list(range(10)) and figures["ranks"] == comm.world.size
        assert figures["codes"]["accuracy"] == np.trace(figures["codes"]["confusion"]) / 297 > 0.2  # what guessing gives: 0.1
        widths = {"codes": 32, "fine_tuned": 32, "pixels": 64, "pca": 32}
        assert {name: figures[name]["width"] for name in widths} == widths
        assert all(sum(map(sum, figures[name]["confusion"])) == figures["test_samples"] == 297 for name in widths)
        assert (tmp_path / "run" / "probe.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "run" / "encoder.keras").unlink()
    comm.barrier()
    with pytest.raises(Refused, match="has no encoder.keras"):
        open_run(run, "encoder")


def test_data_without_labels_are_refused():
    bare = from_arrays("bare.npy", np.zeros((4, 3), np.float32))
    with pytest.raises(Refused, match="bare.npy' has no labels"):
        with_numbered_labels(Splits(bare, bare))


def test_labels_are_numbered_and_kept():
    parts = [from_arrays("x", np.zeros((3, 2), np.float32), np.array(labels)) for labels in ([7, -1, 7], [3, 7, -1])]
    source, classes = with_numbered_labels(Splits(*parts))
    assert classes == [-1, 3, 7]
    np.testing.assert_array_equal(source.train.read_all(LABELS), [2, 0, 2])
    np.testing.assert_array_equal(source.validation.read_all(LABELS), [1, 2, 0])
