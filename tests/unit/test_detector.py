"""The detector as PyOD's and scikit-learn's users expect it, alone; `tests/parallel/on_ranks` has it on ranks."""

import pickle
import unittest

import numpy as np
import pytest
import sklearn.base
import sklearn.metrics
from sklearn.utils.estimator_checks import estimator_checks_generator

from hvd_ae import Detector, Refused

RANDOM = np.random.default_rng(5)
QUICK = {"steps": 20, "collectives": "single"}


@pytest.fixture(scope="module")
def samples():
    values = RANDOM.normal(size=(500, 2)) @ RANDOM.normal(size=(2, 8)) + 0.1 * RANDOM.normal(size=(500, 8))
    is_odd = np.arange(500) % 25 == 0
    values[is_odd] = RANDOM.normal(size=(20, 8)) * values.std(axis=0)
    return values * np.logspace(-2, 2, 8) + 7, is_odd


@pytest.fixture(scope="module")
def fitted(samples):
    return Detector(contamination=0.04, collectives="single").fit(samples[0])


def test_odd_samples_are_found_with_the_defaults(samples, fitted):
    values, is_odd = samples
    assert sklearn.metrics.roc_auc_score(is_odd, fitted.decision_function(values)) > 0.97
    assert fitted.threshold_ == np.quantile(fitted.decision_scores_.astype(np.float64), 0.96)
    assert fitted.labels_.sum() == 20 and fitted.labels_[is_odd].mean() > 0.8
    np.testing.assert_array_equal(fitted.decision_function(values), fitted.decision_scores_)
    np.testing.assert_array_equal(fitted.predict(values), fitted.labels_)
    probabilities = fitted.predict_proba(values)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities[:, 1].argmax() == fitted.decision_scores_.argmax() and probabilities.min() == 0
    np.testing.assert_array_equal(fitted.decision_function(values[40:42]), fitted.decision_scores_[40:42])


@pytest.mark.soak
def test_the_other_convention_is_that_of_scikit_learn(samples, fitted):
    values, other = samples[0], sklearn.base.clone(fitted).set_params(convention="sklearn").fit(samples[0])
    np.testing.assert_array_equal(other.score_samples(values), -fitted.decision_function(values))  # the same seed
    np.testing.assert_array_equal(other.decision_function(values), other.score_samples(values) - other.offset_)
    assert set(other.predict(values)) == {-1, 1} and np.all((other.predict(values) == -1) == (fitted.labels_ == 1))
    np.testing.assert_array_equal(other.predict(values) == 1, other.decision_function(values) >= 0)


def test_what_is_saved_judges_as_before(samples, fitted, tmp_path):
    fitted.save(tmp_path / "detector")
    for other in (Detector.load(tmp_path / "detector"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.decision_function(samples[0]), fitted.decision_scores_)
        assert (other.threshold_, other.get_params()) == (fitted.threshold_, fitted.get_params())
    (tmp_path / "detector" / "detector.json").write_text("{}")
    with pytest.raises(Refused, match="holds no detector that can be loaded"):
        Detector.load(tmp_path / "detector")


@pytest.mark.soak
def test_a_path_gives_what_its_array_gives(samples, fitted, tmp_path):
    np.save(tmp_path / "x.npy", samples[0].astype(np.float32))
    one, other = (Detector(**QUICK).fit(X) for X in (samples[0], str(tmp_path / "x.npy")))
    np.testing.assert_array_equal(one.decision_scores_, other.decision_scores_)
    np.testing.assert_array_equal(one.decision_function(str(tmp_path / "x.npy")), one.decision_scores_)


@pytest.mark.soak
def test_partial_fit_goes_on_with_what_was_learnt(samples):
    values = samples[0]
    first = Detector(scoring="mse", **QUICK).partial_fit(values[:250])
    before, shift = first.decision_function(values[250:]).mean(), first.normalization_.shift.copy()
    weights = [weight.copy() for weight in first.inner_.get_weights()]
    first.partial_fit(values[250:])
    assert first.decision_function(values[250:]).mean() < before and len(first.decision_scores_) == 250
    np.testing.assert_array_equal(first.normalization_.shift, shift)
    assert any((one != other).any() for one, other in zip(weights, first.inner_.get_weights()))


@pytest.mark.parametrize("given, sentence", [
    ({"contamination": 0.7}, "contamination=0.7 must be above 0 and at most 0.5"),
    ({"scoring": "what"}, "scoring='what' is not known"),
    ({"convention": "mine"}, "convention='mine' is not known"), ({"epoch": 3}, "unexpected keyword argument 'epoch'")])
def test_refusals(given, sentence):
    with pytest.raises(Refused, match=sentence):
        Detector(**{**QUICK, **given}).fit(np.eye(4))
    with pytest.raises(ValueError, match="epoch"):
        Detector().set_params(epoch=3)


# docs/detector.md gives the reasons.
EXCEPTIONS = {"check_no_attributes_set_in_init", "check_do_not_raise_errors_in_init_or_set_params"}


@pytest.mark.soak
def test_scikit_learns_own_checks():
    """All that apply to an outlier detector, but for those that are listed."""
    failed = {}
    for estimator, check in estimator_checks_generator(Detector(convention="sklearn", contamination=0.1, **QUICK)):
        try:
            check(estimator)
        except unittest.SkipTest:  # of what is not installed
            pass
        except Exception as error:  # told by name
            failed[check.func.__name__] = f"{type(error).__name__} {str(error)[:300]}"
    assert failed.keys() == EXCEPTIONS, failed
