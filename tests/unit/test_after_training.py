"""What is made of runs of every task: all that they report, new samples, decoded codes, evidence, other formats."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.cli import main

RANDOM = np.random.default_rng(11)
TASKS = {
    "reconstruction": ["--normalize", "standard"],
    "denoising": ["--task", "denoising", "--noise", "gaussian:0.3", "--normalize", "standard"],
    "pairs": ["--task", "denoising", "--targets", "y.npy", "--normalize", "standard"],
    "variational": ["--task", "variational"],
    "conditional": ["--task", "variational", "--condition", "labels"],
    "supervised": ["--task", "supervised", "--targets", "y.npy", "--normalize", "standard"],
    "classification": ["--task", "classification"],
}
OTHERS = {"pairs": ["--targets", "y-later.npy"], "supervised": ["--targets", "y-later.npy"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Bytes with labels, and targets beside them; the last 40 of 240 are a file of their own, too."""
    folder = tmp_path_factory.mktemp("after")
    values = RANDOM.integers(0, 256, size=(240, 12)).astype(np.uint8)
    labels = RANDOM.integers(0, 3, size=240)
    targets = (values / 255.0 @ RANDOM.normal(size=(12, 12)) * 5 + 2).astype(np.float32)
    for name, rows in (("", slice(None)), ("-later", slice(200, 240))):
        np.save(folder / f"x{name}.npy", values[rows])
        np.save(folder / f"x{name}.labels.npy", labels[rows])
        np.save(folder / f"y{name}.npy", targets[rows])
    np.save(folder / "fractions.npy", (values[200:] / np.float32(255)).astype(np.float32))
    return folder


def trained(place, name, monkeypatch):
    monkeypatch.chdir(place)
    if not (place / name).exists():
        assert main(["train", "--data", "x.npy", "--validation-split", str(40 / 240), "--model", "dense", "--widths", "8",
                     "--code", "3", "--epochs", "1", "--batch-size", "25", "--quiet", "--run-dir", name, *TASKS[name]]) == 0
    return json.loads((place / name / "summary.json").read_text())


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "variational" else pytest.mark.soak)
                                  for name in TASKS])
def test_evaluate_says_what_the_training_said_of_its_validation_samples(place, monkeypatch, capsys, name):
    summary = trained(place, name, monkeypatch)
    capsys.readouterr()
    expected = {name: value for name, value in summary.items() if name.startswith("val_") and value is not None}
    assert main(["evaluate", name]) == 0
    assert main(["evaluate", name, "--data", "x-later.npy", *OTHERS.get(name, [])]) == 0
    of_run, of_others = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(expected) >= 2 and of_run == of_others and of_run["samples"] == 40
    assert {name: of_run[name] for name in expected} == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.soak
def test_codes_with_a_condition_are_decoded_to_what_reconstruct_gives(place, monkeypatch, capsys):
    trained(place, "conditional", monkeypatch)
    for command, output in ((["encode"], "codes.npy"), (["reconstruct"], "again.npy")):
        assert main([*command, "conditional", "--data", "x-later.npy", "--output", output]) == 0, capsys.readouterr().err
    assert main(["decode", "conditional", "--data", "codes.npy", "--output", "decoded.npy",
                 "--condition", "x-later.labels.npy"]) == 0, capsys.readouterr().err
    given = {"sample": tf.constant(np.load("fractions.npy")), "condition": tf.constant(np.load("x-later.labels.npy"))}
    expected = np.asarray(keras.saving.load_model("conditional/model.keras")(given))
    np.testing.assert_allclose(np.load("again.npy"), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.load("decoded.npy"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.soak
def test_the_score_elbo_is_the_mean_bound_that_the_training_reports(place, monkeypatch, capsys):
    """Of one draw there, of eight here, the first of which is the same; and bytes or fractions are judged by one threshold."""
    summary = trained(place, "variational", monkeypatch)
    assert main(["score", "variational", "--data", "x-later.npy", "--score", "elbo"]) == 0, capsys.readouterr().err
    scores, found = np.load("variational/scores.npy"), json.loads((place / "variational" / "score.json").read_text())
    assert -scores.mean() == pytest.approx(summary["val_elbo"], rel=0.02)
    assert found["threshold"] == np.quantile(scores.astype(np.float64), 0.99)  # the run's validation samples are the same
    assert [each["sample"] for each in found["worst"]] == np.argsort(-scores, kind="stable")[:10].tolist()


def test_new_samples_are_a_function_of_seed_and_number(place, monkeypatch, capsys):
    trained(place, "variational", monkeypatch)
    for count, output in (("3000", "many.npy"), ("100", "few.npy"), ("3000", "again.npy")):
        batch = ["--batch-size", "64"] if output == "again.npy" else []
        assert main(["sample", "variational", "--count", count, "--output", output, *batch]) == 0, capsys.readouterr().err
    many = np.load("many.npy")
    np.testing.assert_array_equal(many[:100], np.load("few.npy"))
    np.testing.assert_allclose(many, np.load("again.npy"), rtol=1e-4, atol=1e-6)
    decoder = keras.saving.load_model("variational/decoder.keras")
    expected = np.asarray(decoder(RANDOM.normal(size=(20_000, 3)).astype(np.float32)))
    np.testing.assert_allclose(many.mean(axis=0), expected.mean(axis=0), atol=5 * many.std(axis=0).max() / np.sqrt(3000))
    np.testing.assert_allclose(many.std(axis=0), expected.std(axis=0), rtol=0.15, atol=1e-4)


def test_exported_models_give_the_same(place, monkeypatch, capsys):
    trained(place, "variational", monkeypatch)
    assert main(["export", "variational", "--part", "decoder"]) == 0, capsys.readouterr().err
    assert main(["export", "variational", "--part", "decoder", "--format", "npz", "--output", "decoder.npz"]) == 0
    decoder, codes = keras.saving.load_model("variational/decoder.keras"), RANDOM.normal(size=(4, 3)).astype(np.float32)
    loaded = tf.saved_model.load("variational/decoder.savedmodel")
    served = loaded.serve(tf.constant(codes))
    np.testing.assert_allclose(np.asarray(served), np.asarray(decoder(codes)), rtol=1e-5)
    with np.load("decoder.npz") as file:
        assert [file[name].shape for name in file.files] == [weight.shape for weight in decoder.weights]
    capsys.readouterr()
    assert main(["export", "variational", "--part", "decoder"]) == 2
    assert "is there already: remove it" in capsys.readouterr().err


@pytest.mark.soak
def test_what_is_not_there_is_said(place, monkeypatch, capsys):
    trained(place, "supervised", monkeypatch)
    for arguments, sentence in (
            (["evaluate", "supervised", "--data", "x-later.npy"], "is judged by targets, which these data do not bring"),
            (["decode", "supervised", "--data", "x.npy", "--output", "o.npy"], "has no decoder.keras"),
            (["score", "supervised", "--data", "x.npy"], "gives no samples back"),
            (["export", "supervised", "--format", "onnx"], "format='onnx' needs onnx and tf2onnx")):
        assert main(arguments) == 2, arguments
        assert sentence in capsys.readouterr().err
