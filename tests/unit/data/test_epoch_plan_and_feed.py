"""Which rows each step takes, on all ranks together, and the thread that reads them ahead."""

import itertools
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.epoch_plan import plan_epoch, plan_evaluation
from hvd_ae.data.feed import super_batches
from hvd_ae.data.partition import Partition, Segment
from hvd_ae.data.reading import DirectReader
from hvd_ae.data.source import SAMPLES
from hvd_ae.runtime.world import World

PARTITIONS = ("contiguous", "strided", "shuffled", "label-skew", "reshuffled")
SIZES = [(1, 1, 1), (10, 3, 4), (10, 3, 3), (12, 3, 4), (13, 4, 3), (100, 7, 5), (7, 7, 2), (50, 2, 1000), (97, 8, 4)]


def plans_of_all_ranks(partition, samples, ranks, batch_size, seed=0, epoch=0):
    labels = np.arange(samples) % 3
    return [plan_epoch(Partition(partition, samples, seed, labels, 0.5), World(rank, ranks), batch_size, epoch)
            for rank in range(ranks)]


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize(("samples", "ranks", "batch_size"), SIZES)
def test_every_sample_once_in_the_same_number_of_steps_on_every_rank(partition, samples, ranks, batch_size):
    plans = plans_of_all_ranks(partition, samples, ranks, batch_size)
    assert sorted(np.concatenate([plan.indices for plan in plans])) == list(range(samples))
    largest_part = -(-samples // ranks)
    assert {len(plan.batch_sizes) for plan in plans} == {-(-largest_part // batch_size)}
    for plan in plans:
        assert plan.batch_sizes.sum() == len(plan.indices)
        assert plan.batch_sizes.max() <= batch_size
        assert np.all(plan.batch_sizes[:-1] == batch_size)  # only the last step is partial
        assert np.array_equal(plan.global_batch_sizes, sum(other.batch_sizes for other in plans))
        assert plan.batch_sizes.dtype == plan.global_batch_sizes.dtype == np.int32
    assert plans[0].global_batch_sizes.sum() == samples


@pytest.mark.parametrize("partition", PARTITIONS)
def test_law_6_holds_for_any_sizes(partition):
    """A hundred worlds drawn by chance: few ranks and many, batches smaller and larger than a part."""
    random = np.random.default_rng(6)
    for _ in range(100):
        samples = int(random.integers(1, 80))
        ranks, batch_size = int(random.integers(1, min(samples, 20) + 1)), int(random.integers(1, 12))
        plans = plans_of_all_ranks(partition, samples, ranks, batch_size, seed=int(random.integers(2**40)), epoch=2)
        assert np.array_equal(np.sort(np.concatenate([plan.indices for plan in plans])), np.arange(samples))
        sizes = [len(plan.indices) for plan in plans]
        assert max(sizes) - min(sizes) <= 1
        assert len({len(plan.batch_sizes) for plan in plans}) == 1  # as many steps on every rank: none waits for ever
        for plan in plans:
            assert plan.batch_sizes.sum() == len(plan.indices)
            assert np.array_equal(plan.global_batch_sizes, sum(other.batch_sizes for other in plans))
            assert plan.global_batch_sizes.min() > 0  # a step's divisor


@pytest.mark.parametrize("partition", PARTITIONS)
def test_law_4_what_other_numbers_of_ranks_have_left_is_dealt_once(partition):
    """Sixty epochs drawn by chance, each begun by some ranks, gone on by others, and ended by others again."""
    random = np.random.default_rng(5)
    for _ in range(60):
        samples, taken, used, global_rows = int(random.integers(20, 120)), [], [], 0
        while True:
            ranks, batch_size = int(random.integers(1, 7)), int(random.integers(1, 6))
            dealt = Partition(partition, samples, 3, np.arange(samples) % 3, 0.5)
            plans = [plan_epoch(dealt, World(rank, ranks), batch_size, 2, taken) for rank in range(ranks)]
            steps = int(random.integers(0, len(plans[0].batch_sizes) + 1)) if len(taken) < 3 else len(plans[0].batch_sizes)
            assert {len(plan.batch_sizes) for plan in plans} == {len(plans[0].batch_sizes)}
            assert np.array_equal(plans[0].global_batch_sizes, sum(plan.batch_sizes for plan in plans))
            used += [plan.indices[: plan.batch_sizes[:steps].sum()] for plan in plans]
            global_rows += plans[0].global_batch_sizes[:steps].sum()
            if steps == len(plans[0].batch_sizes):
                break
            taken.append(Segment(ranks, batch_size, steps))
        assert sorted(np.concatenate(used)) == list(range(samples)) and global_rows == samples


def test_plans_of_large_worlds_are_cheap():
    """Some ten times faster than this here; a loop over ranks or over samples in Python would take far longer."""
    started = time.perf_counter()
    for partition in ("contiguous", "strided", "shuffled", "reshuffled"):
        for rank in (0, 9_999):
            plan = plan_epoch(Partition(partition, 1_000_007, 0), World(rank, 10_000), 32, 0)
            assert len(plan.batch_sizes) == 4
            assert plan.global_batch_sizes.sum() == 1_000_007
    assert time.perf_counter() - started < 3.0


def test_a_rank_may_have_no_rows_in_the_last_step():
    plans = plans_of_all_ranks("contiguous", 10, 3, 3)  # parts of 4, 3 and 3
    assert [plan.batch_sizes.tolist() for plan in plans] == [[3, 1], [3, 0], [3, 0]]
    assert plans[0].global_batch_sizes.tolist() == [9, 1]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("samples", [24, 30, 35, 11])
def test_laws_1_and_5_global_batches_do_not_depend_on_the_number_of_ranks(ranks, samples):
    """Ranks' rows of a step, one rank after the other, are the next rows of the epoch's order, whatever the ranks."""
    global_batch, epoch = 12, 3
    order = Partition("reshuffled", samples, 9).global_order(epoch).indices(np.arange(samples))
    plans = plans_of_all_ranks("reshuffled", samples, ranks, global_batch // ranks, seed=9, epoch=epoch)
    for step in range(-(-samples // global_batch)):
        together = []
        for plan in plans:
            first = plan.batch_sizes[:step].sum()
            together += plan.indices[first : first + plan.batch_sizes[step]].tolist()
        assert together == order[step * global_batch : (step + 1) * global_batch].tolist()
        sizes = [plan.batch_sizes[step] for plan in plans]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("partition", PARTITIONS)
def test_an_epoch_has_an_order_of_its_own(partition):
    first, again, later = (plans_of_all_ranks(partition, 200, 2, 10, epoch=epoch)[1].indices for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)
    if partition != "reshuffled":
        assert sorted(first) == sorted(later)  # the part is kept


@pytest.mark.parametrize(("samples", "ranks"), [(10, 3), (3, 5), (1, 1), (100, 7)])
def test_evaluation_sees_every_sample_once(samples, ranks):
    shares = [plan_evaluation(samples, World(rank, ranks)) for rank in range(ranks)]
    assert np.concatenate(shares).tolist() == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def numbered(count):
    """Samples whose values are their own numbers."""
    return from_arrays("numbered", np.arange(count, dtype=np.float32)[:, None])


@pytest.mark.parametrize(("first_step", "ends"), [(0, [1, 4, 8]), (0, [8]), (3, [4, 7, 8]), (8, []), (2, [4])])
def test_super_batches_hold_the_samples_of_their_steps(first_step, ends):
    steps = [end - step for step, end in itertools.pairwise([first_step, *ends])]
    plan = plan_epoch(Partition("reshuffled", 30, 0), World(1, 2), 2, 0)
    with super_batches(DirectReader(numbered(30), [SAMPLES]), plan, first_step, ends) as feed:
        got = list(feed)
    assert [len(each.batch_sizes) for each in got] == steps
    last_step = ends[-1] if ends else first_step
    first, last = plan.batch_sizes[:first_step].sum(), plan.batch_sizes[:last_step].sum()
    rows = np.concatenate([np.zeros((0, 1)), *(each.example[SAMPLES] for each in got)]).ravel()
    assert rows.tolist() == plan.indices[first:last].tolist()
    for name in ("batch_sizes", "global_batch_sizes"):
        counts = [n for each in got for n in getattr(each, name)]
        assert counts == getattr(plan, name)[first_step:last_step].tolist()


@dataclass
class Slow:
    """Samples that remember which thread read each super-batch, and fail at one of them."""

    fails_at: int = -1
    reads: list = field(default_factory=list)

    def read(self, plan, first_step, end_step):
        if len(self.reads) == self.fails_at:
            raise OSError("the disk is gone")
        self.reads.append(threading.current_thread().name)
        indices = plan.order.indices(plan.positions_of(first_step, end_step))
        return {SAMPLES: indices}, indices


def eventually(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def test_one_super_batch_is_read_ahead_and_no_more():
    samples, plan = Slow(), plan_epoch(Partition("contiguous", 10, 0), World(), 1, 0)
    with super_batches(samples, plan, 0, range(1, 11)) as feed:
        next(feed)
        assert eventually(lambda: len(samples.reads) == 2)  # the second, while the first is in use
        time.sleep(0.05)
        assert len(samples.reads) == 2
        next(feed)
        assert eventually(lambda: len(samples.reads) == 3)
    assert threading.current_thread().name not in samples.reads


def test_a_fault_in_the_thread_is_raised_where_its_super_batch_is_asked_for():
    plan = plan_epoch(Partition("contiguous", 10, 0), World(), 1, 0)
    with super_batches(Slow(fails_at=2), plan, 0, range(1, 11)) as feed:
        next(feed)
        next(feed)
        with pytest.raises(OSError, match="the disk is gone"):
            next(feed)


@pytest.mark.parametrize("taken", [0, 1, 10])
@pytest.mark.parametrize("fails", [False, True])
def test_the_thread_ends_with_the_context(taken, fails):
    plan = plan_epoch(Partition("contiguous", 10, 0), World(), 1, 0)
    before = set(threading.enumerate())
    try:
        with super_batches(Slow(), plan, 0, range(1, 11)) as feed:
            for _ in range(taken):
                next(feed)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert set(threading.enumerate()) == before
