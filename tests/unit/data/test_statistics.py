"""Statistics of samples against scikit-learn and NumPy, and normalizing there and back."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from hvd_ae.collectives.single import SingleCommunicator
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.checks import Range
from hvd_ae.data.moments import merged, moments_of
from hvd_ae.data.normalized import Normalized, Rule
from hvd_ae.data.quartiles import FirstBits, ordered, quartiles, unordered
from hvd_ae.data.source import SAMPLES
from hvd_ae.data.statistics import Statistics, Wanted, measure
from hvd_ae.errors import Refused

ALONE = SingleCommunicator()
RANDOM = np.random.default_rng(3)
FINFO = np.finfo(np.float32)


def values_of_all_kinds(count=9001):
    """Columns: usual, far from 0, few and therefore many equal values, constant, heavy tails, tiny, with NaN, without any."""
    usual = RANDOM.normal(size=(count, 8)) * [1, 3, 1, 1, 1, 1e-30, 1, 1] + [0, 1e6, 0, 0, 0, 0, 5, 0]
    usual[:, 2] = RANDOM.integers(-2, 3, count)
    usual[:, 3] = 0.1
    usual[:, 4] = RANDOM.standard_cauchy(count) * 1e20
    usual[RANDOM.random(count) < 0.3, 6] = np.nan
    usual[:, 7] = np.nan
    return usual.astype(np.float32)


def measured(values, normalize="standard", per=None, missing="mean"):
    source, rule = from_arrays("mine", values), Rule.of(normalize, per, missing)
    wanted = {SAMPLES: rule.wanted(source.fields[SAMPLES])}
    allowed = Range(missing=missing != "refuse", logarithm=rule.logarithm)
    table = measure(source, "", wanted, allowed, ALONE).tables[SAMPLES]
    return table, rule.normalization(source.fields[SAMPLES], table)


def test_moments_are_those_of_scikit_learn():
    values = values_of_all_kinds()
    table, _ = measured(values)
    of, empty = StandardScaler().fit(values[:, :7].astype(np.float64)), table[:, 7]
    np.testing.assert_array_equal(table[0, :7], of.n_samples_seen_)
    np.testing.assert_allclose(table[1, :7], of.mean_, rtol=1e-9)
    spread = np.nanvar(values[:, :7].astype(np.float64), axis=0)
    np.testing.assert_allclose(table[2, :7] / table[0, :7], spread, rtol=1e-9, atol=1e-30)
    of = MinMaxScaler().fit(values[:, :7])
    np.testing.assert_array_equal(table[3:5, :7], [of.data_min_, of.data_max_])
    assert empty.tolist() == [0, 0, 0, np.inf, -np.inf]


@pytest.mark.parametrize("most_bytes", [1 << 25, 1 << 10])  # of counters: 11 bits at a time, or 8
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9001])
def test_quartiles_are_those_of_numpy_bit_for_bit(count, most_bytes, monkeypatch):
    monkeypatch.setattr("hvd_ae.data.quartiles._MOST", most_bytes)
    values = values_of_all_kinds(count)
    if count == 9001:
        values[:7, 0] = [FINFO.max, -FINFO.max, FINFO.tiny, -FINFO.tiny, FINFO.smallest_subnormal, 0.0, -0.0]
    table, _ = measured(values, "robust")
    with np.errstate(all="ignore"):
        expected = np.nanquantile(values[:, :7].astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_array_equal(table[5:, :7], np.nan_to_num(expected, nan=0.0))
    assert table[5:, 7].tolist() == [0, 0, 0]


def test_quartiles_of_extremes_and_ties():
    """Both halves of the numbers, and columns of a single value."""
    values = np.array([[-FINFO.max, 1.0], [FINFO.max, 1.0], [-0.0, 1.0], [0.0, 1.0]], np.float32)
    first = FirstBits(2)
    first.add(values)
    looks = []

    def over(function):
        looks.append(function)
        for row in values:
            function(row[None])

    found = quartiles(first, over, np.array([4, 4]), ALONE)
    assert len(looks) == 2  # besides the one that moments need
    np.testing.assert_array_equal(found, np.quantile(values.astype(np.float64), [0.25, 0.5, 0.75], axis=0))
    several = np.sort(np.r_[RANDOM.normal(size=99), -np.inf, np.inf].astype(np.float32))
    np.testing.assert_array_equal(np.sort(ordered(several)), ordered(several))
    np.testing.assert_array_equal(unordered(ordered(several)), several)


def test_robust_is_that_of_scikit_learn():
    values = values_of_all_kinds()[:, [0, 1, 2, 3, 4, 6]]
    of = RobustScaler().fit(values.astype(np.float64))
    _, normalization = measured(values, "robust")
    np.testing.assert_array_equal(normalization.shift, of.center_.astype(np.float32))
    np.testing.assert_array_equal(normalization.scale, of.scale_.astype(np.float32))


def test_log1p_is_of_float64():
    values = RANDOM.gamma(1.0, 100.0, (5000, 3)).astype(np.float32)
    table, _ = measured(values, "log1p+standard")
    of = StandardScaler().fit(np.log1p(values.astype(np.float64)))
    np.testing.assert_allclose(table[1], of.mean_, rtol=1e-9)
    np.testing.assert_allclose(table[2] / table[0], of.var_, rtol=1e-9)


@pytest.mark.parametrize(("per", "kept"), [(None, (2,)), ("channel", (2,)), ("all", ()), ("feature", (3, 4, 2))])
def test_per_feature_channel_or_all(per, kept):
    values = (RANDOM.normal(size=(500, 3, 4, 2)) * [1.0, 7.0] + [3.0, -2.0]).astype(np.float32)
    values[RANDOM.random(values.shape) < 0.1] = np.nan
    _, normalization = measured(values, "standard", per)
    assert normalization.shift.shape == normalization.scale.shape == normalization.fill.shape == kept
    axes = tuple(range(4 - len(kept)))
    np.testing.assert_allclose(normalization.shift, np.nanmean(values.astype(np.float64), axis=axes), rtol=1e-6)
    np.testing.assert_allclose(normalization.scale, np.nanstd(values.astype(np.float64), axis=axes), rtol=1e-6)
    table, _ = measured(values, "robust", per)
    np.testing.assert_array_equal(table[6], np.nanmedian(values.astype(np.float64), axis=axes).ravel())


def test_a_long_sum_of_equal_numbers_is_exact():
    table = moments_of(np.full((4096, 3000), 0.1, np.float32), 1)
    number = float(np.float32(0.1))
    assert table[:, 0].tolist() == pytest.approx([4096 * 3000, number, 0, number, number], rel=1e-15, abs=1e-20)


def test_merging_is_as_measuring_at_once():
    values = values_of_all_kinds(100)
    parts = [moments_of(part, 8) for part in np.split(values, [0, 1, 30, 31])]
    together = parts[0]
    for part in parts[1:]:
        together = merged(together, part)
    np.testing.assert_allclose(together, moments_of(values, 8), rtol=1e-10)


@pytest.mark.parametrize("normalize", ["none", "standard", "minmax", "robust", "log1p", "log1p+standard"])
def test_there_and_back(normalize):
    values = np.abs(values_of_all_kinds(300)[:, [0, 1, 2, 3, 5]])
    if "log1p" in normalize:
        values[:, 1] -= 999_000.0  # logarithms of a million and a little more are all the same in float32
    _, normalization = measured(values, normalize, missing="refuse")
    seen = normalization.seen(values)
    assert seen.dtype == np.float32 and np.isfinite(seen).all()
    np.testing.assert_allclose(normalization.restored(seen), values, rtol=1e-5, atol=1e-6)
    # a mean of a million, kept in float32, may be 0.03 beside the true one, of values whose spread is 3
    np.testing.assert_allclose([seen.min(), seen.max()], normalization.bounds, rtol=1e-4, atol=0.02)
    if normalize == "minmax":
        assert normalization.bounds == (0.0, 1.0)
    if normalize in ("standard", "minmax", "robust"):
        assert np.ptp(seen[:, 3]) == 0 and seen[0, 3] == 0  # what never changes


def test_what_is_missing_is_filled_in():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 5.0]], np.float32)
    for missing, expected in (("mean", 2.0), ("zero", 0.0)):
        for normalize in ("none", "minmax", "standard", "robust"):
            _, normalization = measured(values, normalize, missing=missing)
            filled = normalization.restored(normalization.seen(values))
            assert filled[2, 0] == pytest.approx(expected, abs=1e-6)
            assert filled[0, 0] == pytest.approx(1.0, abs=1e-6)
    source = Normalized(from_arrays("mine", values), {SAMPLES: normalization})
    np.testing.assert_array_equal(source.seen(np.arange(3)), normalization.seen(values))


def test_bytes_are_measured_as_they_are_seen():
    values = RANDOM.integers(0, 256, (50, 4)).astype(np.uint8)
    table, _ = measured(values)
    np.testing.assert_allclose(table[1], values.mean(axis=0) / 255, rtol=1e-6)


def test_refusals_name_sample_and_feature():
    values = np.zeros((5000, 3), np.float32)
    values[4999, 1] = -1.5
    with pytest.raises(Refused, match=r"'mine' holds -1.5 in sample 4999, feature 1: a logarithm of 1 \+ x needs"):
        measured(values, "log1p")
    values[4998, 2] = np.nan
    with pytest.raises(Refused, match="holds nan in sample 4998, feature 2: every value must be finite.*--missing mean"):
        measured(values, missing="refuse")
    values[4998, 2] = -np.inf
    with pytest.raises(Refused, match="holds -inf in sample 4998, feature 2: "):
        measured(values)


def test_statistics_are_kept_without_pickles(tmp_path):
    values = values_of_all_kinds(50)
    statistics = measure(from_arrays("mine", values), "about", {SAMPLES: Wanted(8, False, True)}, Range(missing=True), ALONE)
    path = tmp_path / "statistics.npz"
    statistics.save(path)
    back = Statistics.load(path)
    assert back.about == "about" and back.digest == statistics.digest
    for damaged in (b"", path.read_bytes()[:200], b"PK\x03\x04", bytes(300)):
        path.write_bytes(damaged)
        assert Statistics.load(path) is None
    assert Statistics.load(tmp_path / "none") is None
