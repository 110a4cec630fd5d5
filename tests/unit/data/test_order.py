"""Law 5: orders are permutations, look like chance, and depend on seed, epoch, layout and window alone."""

from itertools import pairwise

import numpy as np
import pytest

from hvd_ae.data.order import UniformOrder, WindowedOrder
from hvd_ae.data.partition import Partition, dealt
from hvd_ae.data.permutation import Permutation, mixed


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 255, 256, 257, 1000, 65_536, 100_003])
def test_every_number_comes_once(count):
    for key in ((0,), (7, 1, 2)):
        numbers = Permutation(count, *key)(np.arange(count))
        assert numbers.dtype == np.int64
        assert np.array_equal(np.sort(numbers), np.arange(count))


def test_positions_can_be_asked_for_in_any_pieces():
    whole = Permutation(1000, 3)(np.arange(1000))
    random = np.random.default_rng(0).integers(1000, size=50)
    assert np.array_equal(Permutation(1000, 3)(random), whole[random])
    huge = Permutation(10**12, 3)(np.arange(10**12 - 5, 10**12))
    assert len(set(huge.tolist())) == 5
    assert huge.max() < 10**12


def test_keys_differ_by_each_number_and_by_their_length():
    keys = [(0,), (0, 0), (1,), (0, 1), (1, 0), (2**32,), (2**64 - 1,), (2**64,)]
    assert len({tuple(Permutation(50, *key)(np.arange(50))) for key in keys}) == len(keys)


def test_all_orders_of_few_samples_are_about_equally_frequent():
    """Of 120 orders of five, 12,000 keys should give each about 100 times: chi-square of 119 degrees within 5 sigma."""
    seen: dict[tuple, int] = {}
    for key in range(12_000):
        order = tuple(Permutation(5, key)(np.arange(5)))
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 120
    chi_square = sum((n - 100) ** 2 / 100 for n in seen.values())
    assert abs(chi_square - 119) < 5 * np.sqrt(2 * 119)


def test_positions_and_neighbours_look_like_chance():
    """Where each number lands is uniform, and neighbours of an order are no more alike than strangers."""
    count = 4096
    orders = np.stack([Permutation(count, key)(np.arange(count)) for key in range(64)])
    halves = (orders[:, : count // 2] < count // 2).sum(axis=1)  # binomial-like around count / 4
    assert abs(halves.mean() - count / 4) < 5 * np.sqrt(count / 16 / 64)
    distances = np.abs(np.diff(orders.astype(float), axis=1)).mean()
    assert distances == pytest.approx(count / 3, rel=0.01)  # of two uniform numbers
    assert len({tuple(orders[:, place]) for place in range(50)}) == 50


def test_mixing_is_that_of_splitmix64():
    """The first output for the seed 0 of SplitMix64 as its authors publish it (its state is one golden step on)."""
    state = np.array([0x9E3779B97F4A7C15], np.uint64)
    assert int(mixed(state)[0]) == 0xE220A8397B1DCDAF


STARTS = np.array([0, 10, 20, 27, 40, 41, 60])
SIZES = np.diff(STARTS, append=75)


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
def test_windows_hold_whole_blocks_and_every_sample_once(window):
    order = WindowedOrder(STARTS, SIZES, window, 5, 0)
    numbers = order.indices(np.arange(75))
    assert np.array_equal(np.sort(numbers), np.arange(75))
    block_of = np.searchsorted(STARTS, numbers, side="right") - 1
    seen: set = set()
    windows = -(-len(STARTS) // window)
    for number in range(windows):
        first, end = order.window_range(number)
        here = set(block_of[first:end])
        assert len(STARTS) // windows <= len(here) <= min(window, -(-len(STARTS) // windows))
        assert not here & seen
        stretches = {block // windows for block in here}  # of as many consecutive blocks as there are windows
        assert len(stretches) == len(here)
        seen |= here
        assert order.window_of(first) == order.window_of(end - 1) == number
        firsts, sizes = order.blocks_of(number)
        together = np.concatenate([np.arange(f, f + s) for f, s in zip(firsts, sizes)])
        assert np.array_equal(together[order.places(number, np.arange(first, end))], numbers[first:end])
    scattered = np.random.default_rng(1).integers(75, size=40)
    assert np.array_equal(order.indices(scattered), numbers[scattered])


def test_windows_of_data_that_lie_sorted_resemble_all_of_them():
    """Of 100 blocks of 10 classes that lie sorted, each window of 10 blocks has one of every class."""
    for epoch in range(20):
        order = WindowedOrder(np.arange(0, 800, 8), np.full(100, 8), 10, 3, epoch)
        for window in range(10):
            assert np.array_equal(np.bincount(order.blocks_of(window)[0] // 80, minlength=10), np.ones(10))


def test_every_block_comes_early_as_often_as_late():
    """A block of the first, a middle and the last stretch, which is shorter: half the epochs, within 5 sigma."""
    early = np.zeros(103)
    for epoch in range(300):
        order = WindowedOrder(np.arange(0, 824, 8), np.full(103, 8), 10, 3, epoch)
        blocks = [order.blocks_of(window)[0] // 8 for window in range(11)]
        assert {len(each) for each in blocks} == {9, 10}
        early[np.concatenate(blocks[:5])] += 1
    assert (abs(early / 300 - 5 / 11) < 5 * np.sqrt(0.25 / 300)).all()


def test_an_order_depends_on_seed_epoch_layout_and_window_alone():
    def of(seed=0, epoch=0, window=2, starts=STARTS):
        order = Partition("reshuffled", 75, seed, window=window, block_starts=starts).global_order(epoch)
        return tuple(order.indices(np.arange(75)))

    different = [of(), of(seed=1), of(epoch=1), of(window=3), of(starts=STARTS[:-1]), of(window=None)]
    assert len(set(different)) == len(different)
    assert of() == of()
    assert of(window=None) == of(window=None, starts=STARTS[:-1])  # where everything is one window, formats are alike


def test_a_uniform_order_knows_no_layout():
    order = UniformOrder(30, 1, 2, number_of=lambda places: 100 + 2 * places)
    assert sorted(order.indices(np.arange(30))) == list(range(100, 160, 2))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7])
def test_blocks_are_dealt_in_about_equal_numbers_of_samples(ranks):
    for sizes in (SIZES, np.full(100, 8), np.array([1000, 1, 1, 1, 1, 1, 1])):
        ranks_of = dealt(sizes, ranks)
        assert (np.diff(ranks_of) >= 0).all()  # consecutive
        assert set(ranks_of) <= set(range(ranks))
        shares = np.bincount(ranks_of, sizes, ranks)
        assert shares.max() <= sizes.sum() / ranks + sizes.max()


@pytest.mark.parametrize("partition", ["contiguous", "shuffled"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_kept_parts_in_windows_cover_every_sample_once(partition, ranks):
    """Law 6 where blocks are kept whole: parts differ by at most one block."""
    dealing = Partition(partition, 75, 3, window=4, block_starts=STARTS)
    orders = [dealing.own_order(ranks, rank, 1) for rank in range(ranks)]
    parts = [order.indices(np.arange(order.count)) for order in orders]
    assert sorted(np.concatenate(parts)) == list(range(75))
    assert [len(part) for part in parts] == dealing.sizes(ranks)
    assert max(map(len, parts)) - min(map(len, parts)) <= (1 if partition == "contiguous" else 2 * SIZES.max())
    for one, other in pairwise(parts):
        assert not set(one) & set(other)
