"""Law 6: parts are disjoint, cover every sample, and differ in size by at most one; and they are what they say."""

import time

import numpy as np
import pytest

from hvd_ae.data.partition import Partition, generator
from hvd_ae.errors import Refused

KEPT = ("contiguous", "strided", "shuffled", "label-skew")


def own_part(partition, samples, ranks, rank, seed, labels=None, concentration=None):
    size, number_of = Partition(partition, samples, seed, labels, concentration).own_part(ranks, rank)
    return number_of(np.arange(size))


def global_order(samples, seed, epoch):
    return Partition("reshuffled", samples, seed).global_order(epoch).indices(np.arange(samples))


def own_order(samples, seed, epoch, ranks, rank):
    order = Partition("contiguous", samples, seed).own_order(ranks, rank, epoch)
    return order.indices(np.arange(order.count))


def all_parts(partition, samples, ranks, seed=0, concentration=0.5):
    labels = np.random.default_rng(5).integers(10, size=samples)
    return [own_part(partition, samples, ranks, rank, seed, labels, concentration) for rank in range(ranks)]


@pytest.mark.parametrize("partition", KEPT)
@pytest.mark.parametrize(("samples", "ranks"), [(1, 1), (7, 7), (8, 3), (100, 7), (101, 1), (1000, 64), (64, 63)])
def test_law_6_disjoint_complete_and_even(partition, samples, ranks):
    parts = all_parts(partition, samples, ranks)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(samples))
    expected_sizes = [samples // ranks + (rank < samples % ranks) for rank in range(ranks)]
    assert [len(part) for part in parts] == expected_sizes


def test_each_kept_partition_is_what_its_name_says():
    contiguous, strided, shuffled = (all_parts(name, 11, 3)[1] for name in KEPT[:3])
    assert contiguous.tolist() == [4, 5, 6, 7]
    assert strided.tolist() == [1, 4, 7, 10]
    assert shuffled.tolist() not in (contiguous.tolist(), strided.tolist())


@pytest.mark.parametrize("partition", ["shuffled", "label-skew"])
def test_a_part_depends_on_the_seed_and_on_nothing_else(partition):
    first, again, other = (all_parts(partition, 500, 4, seed)[2] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def largest_class_share(concentration, ranks=10):
    """Mean over ranks of the share of a rank's most frequent class: 60,000 samples of ten equally frequent classes."""
    labels = np.arange(60_000) % 10
    parts = (own_part("label-skew", 60_000, ranks, rank, 0, labels, concentration) for rank in range(ranks))
    return np.mean([np.bincount(labels[part]).max() / len(part) for part in parts])


def test_a_smaller_concentration_is_more_uneven():
    # 0.1 is the mean share if classes were equal on every rank; 1.0 if every rank held one class only
    extreme, uneven, between, even = (largest_class_share(concentration) for concentration in (0.01, 0.1, 1.0, 1000.0))
    assert extreme > 0.8
    assert 0.45 < uneven < 0.8
    assert 0.2 < between < 0.6
    assert even < 0.12


@pytest.mark.parametrize("concentration", [1e-9, 1e9])
def test_extreme_concentrations_still_cover_every_sample(concentration):
    parts = all_parts("label-skew", 1000, 9, concentration=concentration)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1000))


def test_label_skew_takes_any_labels():
    labels = np.array([-3, 70_000, 70_000, 5, 5, 5, -3])
    parts = [own_part("label-skew", 7, 3, rank, 0, labels, 0.5) for rank in range(3)]
    assert sorted(np.concatenate(parts)) == list(range(7))


def test_label_skew_without_labels_is_refused():
    with pytest.raises(Refused, match=r"label-skew.*labels\.npy"):
        own_part("label-skew", 10, 2, 0, 0, None, 0.5)


def test_large_worlds_are_cheap():
    """A hundred times faster than this here; a part that needed all other ranks' parts would take minutes."""
    started = time.perf_counter()
    for rank in (0, 9_999):
        for partition in ("contiguous", "strided"):
            assert len(own_part(partition, 10_000_000, 10_000, rank, 0)) == 1000
    labels = np.arange(60_000) % 10
    own_part("label-skew", 60_000, 64, 63, 0, labels, 0.5)
    assert time.perf_counter() - started < 1.0


def test_law_5_the_global_order_is_a_function_of_seed_and_epoch_alone():
    orders = [tuple(global_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len(set(orders)) == 6
    assert orders == [tuple(global_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_order_within_moves_a_part_about_differently_by_epoch_and_rank():
    orders = [tuple(own_order(120, 0, epoch, 2, rank) - 60 * rank) for epoch in (0, 1) for rank in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(60)) for order in orders)


def test_streams_of_different_keys_differ():
    """Zeros at the end of a key count, and so do seeds of more than 32 bits."""
    keys = [(0,), (0, 0), (0, 0, 0), (1,), (0, 1), (2**32,), (2**32 + 1,), (1, 1)]
    assert len({int(generator(*key).integers(2**62)) for key in keys}) == len(keys)


def test_the_orders_of_today():
    """What changes these breaks the resuming of runs: the number of the checkpoints' format rises with them."""
    assert global_order(8, 0, 0).tolist() == GLOBAL_ORDER
    assert own_part("shuffled", 8, 2, 0, 0).tolist() == SHUFFLED
    labels = np.arange(8) % 2
    assert sorted(own_part("label-skew", 8, 2, 0, 0, labels, 0.5).tolist()) == SKEWED


GLOBAL_ORDER = [4, 5, 3, 6, 2, 7, 1, 0]
SHUFFLED = [2, 6, 3, 1]
SKEWED = [0, 3, 5, 7]
