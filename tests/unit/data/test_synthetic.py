"""A synthetic sample is a function of the seed, the shape and its number, to the last bit, and lies nowhere."""

import subprocess
import sys

import numpy as np
import pytest

from hvd_ae.data.arrays import ArraySource
from hvd_ae.data.load import load
from hvd_ae.data.source import LABELS, SAMPLES
from hvd_ae.data.synthetic import Computed, make_samples
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import World
from tests.unit.data.formats import assert_holds


@pytest.mark.parametrize("shape", [(1,), (7,), (64,), (3, 5), (1000,), (70_001,)])
def test_any_choice_of_samples_has_the_same_bits(shape):
    count = 9000 if shape != (70_001,) else 12
    source = Computed("s", count, shape, seed=3)
    samples, labels = make_samples(0, count, shape, seed=3)
    assert_holds(source, samples)
    assert_holds(source, labels, LABELS)
    chosen = np.random.default_rng(1).permutation(count)
    for some in (chosen, chosen[:1], chosen[:2], chosen[:3], chosen[:17], chosen[::-1][:4099]):
        assert source.read(some, [SAMPLES])[SAMPLES].tobytes() == samples[some].tobytes()


def test_an_exponential_has_the_same_bits_in_an_array_of_any_length():
    """What the above rests on: NumPy's vectors of several numbers, and what is left at the end, compute alike."""
    values = np.random.default_rng(0).normal(scale=5, size=300).astype(np.float32)
    whole = np.exp(values)
    for length in range(1, 70):
        for start in range(20):
            assert np.exp(values[start : start + length]).tobytes() == whole[start : start + length].tobytes()


def test_a_large_set_is_computed_and_has_the_values_of_a_small_one():
    small, large = load("synthetic:3000x6x10", World(), seed=4), load("synthetic:5000000000x6x10", World(), seed=4)
    assert isinstance(small.train, ArraySource)
    assert large.train.count + large.validation.count == 5_000_000_000
    assert large.train.reads_single_samples
    assert large.train.bytes_stored == 0
    some = np.array([2, 1, 2699])
    for field in (SAMPLES, LABELS):
        np.testing.assert_array_equal(large.train.read(some, [field])[field], small.train.read(some, [field])[field])
    far = large.validation.read(np.array([499_999_999, 0]), [SAMPLES, LABELS])
    assert far[SAMPLES].shape == (2, 6, 10)
    assert len(np.unique(far[SAMPLES])) == 120


def test_classes_are_even_and_factors_normal():
    source = Computed("s", 1 << 40, (3,), seed=0)
    numbers = np.arange(1 << 39, (1 << 39) + 40_000)
    labels = source.read(numbers, [LABELS])[LABELS]
    assert np.bincount(labels, minlength=10).min() > 3800
    spread = (source._factors(numbers) + source._centres[labels]) / 0.3
    assert abs(spread.mean()) < 0.01
    np.testing.assert_allclose(np.cov(spread.T), np.eye(10), atol=0.03)
    assert abs((spread**4).mean() - 3) < 0.35  # of four uniform numbers: 2.7


MEASURED = """
import resource, sys, numpy as np
from hvd_ae.data.load import load, fingerprint
from hvd_ae.runtime.world import World
splits = load(sys.argv[1], World())
fingerprint(splits)
splits.train.read(np.arange(100) * (splits.train.count // 100), ["samples", "labels"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_a_thousand_million_samples_need_no_memory():
    small, large = (int(subprocess.run([sys.executable, "-c", MEASURED, f"synthetic:{count}x64"], check=True,
                                       capture_output=True, text=True).stdout) for count in (1000, 1_000_000_000))
    assert large < small + 30  # MiB


@pytest.mark.parametrize(("data", "sentence"), [
    ("synthetic:99999999999x999999", r"363,798 TiB of samples, where 128 are the most"),
    ("synthetic:9999999999999999x9999999999", r"GiB, where 256 MiB is the most"), ("synthetic:3", "not of the form"),
])
def test_what_is_refused(data, sentence):
    with pytest.raises(Refused, match=sentence):
        load(data, World())
