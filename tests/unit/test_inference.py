"""Codes, scores, thresholds and how they are judged, in one process: NumPy and scikit-learn are the peers."""

import json

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from hvd_ae.cli import main
from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.commands.convert.hdf5 import Hdf5Writer
from hvd_ae.commands.convert.layout import Layout
from hvd_ae.commands.convert.npy import NpyWriter
from hvd_ae.commands.convert.parquet import ParquetWriter
from hvd_ae.commands.score.picture import histogram
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.source import SAMPLES
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks
from hvd_ae.inference.gaussian import Gaussian, spread
from hvd_ae.inference.ranking import quantiles, rank

ALONE = SingleCommunicator()
RANDOM = np.random.default_rng(7)


def with_ties(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten data sets: few different scores or many, rare odd samples or most of them, and one of a single score."""
    count = 50 + 171 * number
    is_odd = RANDOM.random(count) < (0.02, 0.5, 0.9)[number % 3]
    is_odd[:2] = True, False
    scores = RANDOM.normal(size=count) + is_odd
    scores = np.zeros(count) if number == 9 else np.round(scores, number % 4) if number != 5 else scores
    return scores.astype(np.float32), is_odd


@pytest.mark.parametrize("number", range(10))
def test_measures_are_those_of_scikit_learn_and_quantiles_those_of_numpy(number):
    scores, is_odd = with_ties(number)
    threshold = float(np.quantile(scores, 0.8))
    found = rank(scores, is_odd, threshold, ALONE)
    assert found.roc_auc == pytest.approx(sklearn.metrics.roc_auc_score(is_odd, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(sklearn.metrics.average_precision_score(is_odd, scores), abs=1e-12)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(is_odd, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert found.best_f1 == pytest.approx(f1.max(), abs=1e-12)
    assert f1[np.flatnonzero(thresholds == found.best_f1_threshold)[0]] == pytest.approx(f1.max(), abs=1e-12)
    matrix = sklearn.metrics.confusion_matrix(is_odd, scores > threshold, labels=[False, True])
    assert [[found.true_negatives, found.false_positives], [found.false_negatives, found.true_positives]] == matrix.tolist()
    shares = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0]
    assert quantiles(scores, shares, ALONE) == np.quantile(scores.astype(np.float64), shares).tolist()


def test_labels_of_one_kind_are_refused():
    with pytest.raises(Refused, match="labels say that 0 samples are odd and 3 are not"):
        rank(np.zeros(3, np.float32), np.zeros(3, bool), 0.0, ALONE)


def test_every_block_is_filled_up_and_each_sample_has_its_own_result():
    values, sizes = RANDOM.random((1030, 3)).astype(np.float32), []

    def function(example):
        sizes.append(example[SAMPLES].shape[0])
        return {"sum": tf.reduce_sum(example[SAMPLES], axis=1), "samples": example[SAMPLES]}

    blocks, found = Blocks(function, from_arrays("x", values), [SAMPLES], ALONE, batch_size=100), {}
    blocks.each(lambda unit: found.update({unit.number: unit}), done=[1, 4])
    assert set(sizes) == {100} and blocks.unit == 100 and blocks.units == 11
    assert sorted(found) == [0, 2, 3, *range(5, 11)] and (found[10].first, found[10].end) == (1000, 1030)
    for unit in found.values():
        np.testing.assert_array_equal(unit.outputs["samples"], values[unit.first : unit.end])
        np.testing.assert_allclose(unit.outputs["sum"], values[unit.first : unit.end].sum(axis=1), rtol=1e-6)
    values[3, 0] = 1e30  # finite, and its square is not
    Blocks(function, from_arrays("x", values), [SAMPLES], ALONE, batch_size=100).each(lambda unit: None)
    values[537, 1] = np.nan
    with pytest.raises(Refused, match="holds nan in sample 537, feature 1"):
        Blocks(function, from_arrays("x", values), [SAMPLES], ALONE, batch_size=100).each(lambda unit: None)


def test_the_gaussian_takes_samples_from_everywhere_and_needs_no_units():
    assert spread(100).tolist() == list(range(100))
    taken = spread(10_000_000)
    assert len(taken) == len(set(taken.tolist())) == 16384 and (taken[0], taken[-1]) == (0, 9_999_999)
    vectors = RANDOM.normal(size=(400, 3)) @ RANDOM.normal(size=(3, 3))
    one, other = (Gaussian.of((vectors * units + 5).astype(np.float32)) for units in ([1, 1, 1], [1e3, 1, 1e-2]))

    def distances(by, units):
        apart = vectors * units + 5 - by.mean
        return np.sum(apart @ by.precision * apart, axis=1)

    np.testing.assert_allclose(distances(one, [1, 1, 1]), distances(other, [1e3, 1, 1e-2]), rtol=1e-2)
    apart = vectors - vectors.mean(axis=0)
    standard = apart / apart.std(axis=0)
    inverse = np.linalg.inv(np.cov(standard.T) + 0.01 * np.eye(3))
    np.testing.assert_allclose(distances(one, [1, 1, 1]), np.sum(standard @ inverse * standard, axis=1), rtol=1e-2)
    constant = Gaussian.of(np.ones((10, 2), np.float32))
    assert np.isfinite(constant.precision).all()


@pytest.mark.parametrize("writes, name", [(NpyWriter, "x.npy"), (Hdf5Writer, "x.h5"), (ParquetWriter, "x")])
def test_what_was_written_is_read_again(tmp_path, writes, name):
    values = RANDOM.random((10, 3)).astype(np.float32)
    source = from_arrays("x", values, np.arange(10))
    writer = writes(tmp_path, name, Layout(source), {"count": 10})
    writer.begin()
    writer.open()
    writer.write(0, {SAMPLES: values, "labels": np.arange(10)})
    np.testing.assert_array_equal(writer.read(2, 3, SAMPLES), values[2:5])
    assert writer.read(4, 6, "labels").tolist() == [4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of an autoencoder that has seen near a plane, normalized; and samples to judge, some of which lie far from it."""
    folder = tmp_path_factory.mktemp("scored")
    values = RANDOM.normal(size=(900, 2)) @ RANDOM.normal(size=(2, 6)) + 0.05 * RANDOM.normal(size=(900, 6))
    values = (values * [1, 10, 0.1, 1, 1, 1] + 3).astype(np.float32)
    labels = np.arange(300) % 10 == 0
    np.save(folder / "train.npy", values[:600])
    judged = values[600:] + labels[:, None] * RANDOM.normal(size=(300, 6)).astype(np.float32) * [1, 10, 0.1, 1, 1, 1]
    np.save(folder / "judged.npy", judged.astype(np.float32))
    np.save(folder / "judged.labels.npy", labels.astype(np.int64))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert main(["train", "--data", "train.npy", "--model", "shallow", "--epochs", "2", "--normalize", "standard",
                     "--learning-rate", "0.01", "--run-dir", "run"]) == 0
    return folder


def test_codes_and_reconstructions_are_those_of_plain_keras(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    judged = np.load("judged.npy")
    import h5py
    import pyarrow.parquet

    for part, command, name in (("encoder", "encode", "codes"), ("model", "reconstruct", "reconstructions")):
        expected = np.asarray(keras.saving.load_model(f"run/{part}.keras")(judged))
        for output in ("out.npy", "out.h5", "out.parquet", "out.npy"):  # over the first one
            assert main([command, "run", "--data", "judged.npy", "--output", output]) == 0, capsys.readouterr().err
        np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-4, atol=1e-4)
        with h5py.File("out.h5") as file:
            np.testing.assert_array_equal(file[name][:], np.load("out.npy"))
        column = pyarrow.parquet.read_table("out.parquet").column(name).combine_chunks()
        np.testing.assert_array_equal(np.asarray(column.to_numpy_ndarray() if hasattr(column, "to_numpy_ndarray") else
                                                 column.chunk(0).to_numpy_ndarray()), np.load("out.npy"))
    assert not list(place.glob("*.partial"))


def test_scores_and_thresholds_are_numpys_of_what_keras_gives(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    train, judged, labels = np.load("train.npy"), np.load("judged.npy"), np.load("judged.labels.npy")
    scale = train[:540].std(axis=0)
    model = keras.saving.load_model("run/model.keras")

    def errors(values):
        return (np.asarray(model(values)) - values) / scale

    assert main(["score", "run", "--data", "judged.npy", "--labels", "judged.labels.npy", "--worst", "3"]) == 0
    found, scores = json.loads((place / "run" / "score.json").read_text()), np.load("run/scores.npy")
    expected = np.square(errors(judged)).mean(axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-3)
    # of the run's validation samples, not of those that are judged
    assert found["threshold"] == pytest.approx(np.quantile(np.square(errors(train[540:])).mean(axis=1), 0.99), rel=1e-3)
    assert (found["quantile"], found["threshold_samples"]) == (0.99, 60)
    assert found["above"] == np.sum(scores > found["threshold"])
    assert found["labels"]["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert [each["sample"] for each in found["worst"]] == np.argsort(-scores, kind="stable")[:3].tolist()
    first = found["worst"][0]
    shares = np.square(errors(judged[first["sample"] : first["sample"] + 1]))[0]
    assert {each["feature"]: pytest.approx(each["share"], rel=1e-2, abs=1e-4) for each in first["features"]} == \
        dict(enumerate(shares / shares.sum()))
    page = (place / "run" / "report.html").read_text()
    assert "How the scores lie, and the threshold" in page and f"{found['threshold']:.4g}" in page
    below_zero = histogram(np.array([-3.0, 1.0, 2.0], np.float32), None, ALONE)  # as evidence can be
    assert below_zero.counts.sum() == 3 and (below_zero.edges[0], below_zero.edges[-1]) == (-3.0, 2.0)

    # later data: by the same threshold, which is kept, and not by another
    np.save("later.npy", judged[:20])
    assert main(["score", "run", "--data", "later.npy"]) == 0
    later = json.loads((place / "run" / "score.json").read_text())
    assert later["threshold"] == found["threshold"] and later["labels"] is None
    np.testing.assert_array_equal(np.load("run/scores.npy"), scores[:20])
    assert main(["score", "run", "--data", "judged.npy", "--threshold-from", "judged.npy", "--contamination", "0.1"]) == 0
    asked = json.loads((place / "run" / "score.json").read_text())
    assert asked["threshold"] == np.quantile(scores.astype(np.float64), 0.9) and asked["above"] == 30
    assert main(["score", "run", "--data", "later.npy"]) == 0
    assert json.loads((place / "run" / "score.json").read_text())["threshold"] == asked["threshold"]


@pytest.mark.parametrize("kind", [pytest.param("mae", marks=pytest.mark.soak), "mahalanobis",
                                  pytest.param("code-distance", marks=pytest.mark.soak)])
def test_other_scores(place, monkeypatch, kind):
    monkeypatch.chdir(place)
    train, judged = np.load("train.npy"), np.load("judged.npy")
    model, encoder = (keras.saving.load_model(f"run/{part}.keras") for part in ("model", "encoder"))

    def vectors(values):
        errors = (np.asarray(model(values)) - values) / train[:540].std(axis=0)
        codes = np.asarray(encoder(values))
        return {"mae": errors, "mahalanobis": np.hstack([errors, codes]), "code-distance": codes}[kind].astype(np.float32)

    expected = np.abs(vectors(judged)).mean(axis=1)
    if kind != "mae":
        by = Gaussian.of(vectors(train[:540]))
        apart = vectors(judged) - by.mean
        expected = np.sum(apart @ by.precision * apart, axis=1) / apart.shape[1]
    assert main(["score", "run", "--data", "judged.npy", "--score", kind, "--worst", "1"]) == 0
    np.testing.assert_allclose(np.load("run/scores.npy"), expected, rtol=2e-2)
    found = json.loads((place / "run" / "score.json").read_text())
    assert found["score"] == kind and len(found["worst"]) == 1
    assert main(["score", "run", "--data", "judged.npy"]) == 0  # by what is kept
    assert json.loads((place / "run" / "score.json").read_text())["threshold"] == found["threshold"]


def test_what_cannot_be_scored_is_refused(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    holes = np.load("judged.npy")
    holes[250, 3] = np.nan
    np.save("holes.npy", holes)
    for arguments, sentence in (
            (["score", "run", "--data", "holes.npy"], "data='holes.npy' holds nan in sample 250, feature 3"),
            (["score", "run", "--data", "judged.npy", "--quantile", "0.9", "--contamination", "0.1"], "say the same"),
            (["score", "run", "--data", "judged.npy", "--output", "judged.npy"], "which the samples are read from"),
            (["score", "run", "--data", "judged.npy", "--output", "run/model.keras"], "a file of the run"),
            (["encode", "run", "--data", "judged.npy", "--output", "codes.txt"], "name a .npy, .h5 or .parquet"),
            (["score", "run", "--data", "judged.npy", "--quantile", "1.5"], "quantile=1.5")):
        assert main(arguments) == 2, arguments
        assert sentence in capsys.readouterr().err
