"""Law 10: what a task draws is a function of (seed, epoch, sample), and is as good as random numbers are."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from hvd_ae.tasks.draws import Draws

NUMBERS = np.arange(400, dtype=np.int64)


def draws(numbers=NUMBERS, epoch=2, seed=5, stream=0):
    return Draws(seed, tf.constant(np.full(len(numbers), epoch, np.int64)), tf.constant(numbers), stream)


def by_numpy(seed: int, epoch: int, number: int, count: int) -> list[int]:
    """SplitMix64 as its authors write it, in Python's whole numbers."""
    def mixed(z):
        z %= 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    state = mixed(mixed(mixed(seed) + epoch % 2**64) + number)
    return [mixed((state + (n + 1) * 0x9E3779B97F4A7C15) % 2**64) for n in range(count)]


@pytest.mark.parametrize("seed, epoch, number", [(0, 0, 0), (5, -1, 7), (2**32 - 1, 10, 2**40 + 3)])
def test_hashes_are_those_of_splitmix(seed, epoch, number):
    hashes = by_numpy(seed, epoch, number, 3)
    found = draws(np.array([number]), epoch, seed).uniform((6,)).numpy()[0]
    halves = [z >> 32 for z in hashes] + [z % 2**32 for z in hashes]
    np.testing.assert_array_equal(found, np.array([half >> 8 for half in halves]) / 2.0**24)


def test_a_sample_has_the_same_draws_in_any_batch():
    whole = draws().normal((3, 5)).numpy()
    chosen = np.array([399, 7, 0, 211])
    np.testing.assert_allclose(draws(chosen).normal((3, 5)), whole[chosen], atol=1e-6)
    assert draws(NUMBERS[:0]).normal((3, 5)).shape == (0, 3, 5)


@pytest.mark.parametrize("changes", [{"epoch": 3}, {"epoch": -1}, {"seed": 6}, {"stream": 1}, {"numbers": NUMBERS + 400}])
def test_other_epochs_seeds_streams_and_samples_have_others(changes):
    one, other = draws().normal((64,)).numpy(), draws(**changes).normal((64,)).numpy()
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def test_they_are_normal_uniform_and_independent():
    normal, uniform = draws().normal((257,)).numpy(), draws().uniform((257,)).numpy()
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3 and stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert np.isfinite(normal).all() and uniform.min() >= 0 and uniform.max() < 1
    bound = 4.5 / np.sqrt(normal.size)
    for shifted in (normal[:, 1:], normal[:, 128:]):  # of neighbours, and of the two that one hash gives
        assert abs(np.corrcoef(normal[:, : shifted.shape[1]].ravel(), shifted.ravel())[0, 1]) < bound
    assert abs(np.corrcoef(normal[:-1].ravel(), normal[1:].ravel())[0, 1]) < bound
    assert abs(np.mean(normal**2) - 1) < 4.5 * np.sqrt(2 / normal.size)
