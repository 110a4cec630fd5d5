"""One set of tests for every engine; data differ by rank, and what is expected is a formula in rank and size."""

import time

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.averaging.sync_check import checksum
from hvd_ae.collectives.communicator import part_sizes
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import broadcast_text, run_on_all, same_on_all
from tests.parallel.jobs import JOBS

pytestmark = pytest.mark.jobs(*JOBS)  # a second each

LENGTHS = (1, 2, 7, 1000, 100_003)
BASE = {length: np.arange(length, dtype=np.float32) % 97 for length in LENGTHS}


def mine(length: int, world) -> np.ndarray:
    """Small whole numbers, so that sums are exact: (rank + 1) x (0, 1, 2, ...)."""
    return BASE[length] * (world.rank + 1)


def in_graph(collective):
    """The same collective called inside tf.function, several times in a loop."""

    @tf.function
    def three_times(vector):
        result = collective(vector)
        for _ in tf.range(2):
            result = collective(vector)
        return result

    return three_times


@pytest.fixture(params=["eager", "graph"])
def call(request):
    return (lambda collective, vector: collective(vector).numpy()) if request.param == "eager" else (
        lambda collective, vector: in_graph(collective)(tf.constant(vector)).numpy())


@pytest.mark.parametrize("length", LENGTHS)
def test_sum_and_mean(comm, call, length):
    size = comm.world.size
    vector = mine(length, comm.world)
    total, mean = call(comm.sum, vector), call(comm.mean, vector)
    np.testing.assert_array_equal(total, BASE[length] * (size * (size + 1) / 2))
    np.testing.assert_allclose(mean, BASE[length] * ((size + 1) / 2), rtol=1e-6)


def test_sum_leaves_its_argument_alone(comm):
    vector = tf.constant(mine(1000, comm.world))
    comm.sum(vector)
    np.testing.assert_array_equal(vector.numpy(), mine(1000, comm.world))


def test_a_sum_in_place_is_only_where_nothing_else_needs_the_argument(comm):
    """`hvd_ae install-horovod` lets Horovod write into the memory of what it is given (`hvd_ae/install/edits.py`)."""
    size = comm.world.size

    @tf.function
    def both(vector):
        doubled = 2 * vector
        total = comm.sum(doubled)
        again = comm.sum(2 * vector)
        return doubled, total, again

    doubled, total, again = both(tf.constant(mine(100_003, comm.world)))
    np.testing.assert_array_equal(doubled, 2 * mine(100_003, comm.world))
    np.testing.assert_array_equal(total, BASE[100_003] * (size * (size + 1)))
    np.testing.assert_array_equal(again, total)


def test_minimum_and_maximum(comm, call):
    rank, size = comm.world.rank, comm.world.size
    values = np.array([rank, -rank, 5.0], np.float64)
    lowest, highest = call(comm.minimum, values), call(comm.maximum, values)
    np.testing.assert_array_equal(lowest, [0, 1 - size, 5])
    np.testing.assert_array_equal(highest, [size - 1, 0, 5])


@pytest.mark.parametrize("length", LENGTHS)
def test_reduce_scatter_then_all_gather_is_the_sum(comm, call, length):
    world = comm.world
    part = call(comm.reduce_scatter, mine(length, world))
    whole = call(comm.all_gather, part)
    total = BASE[length] * (world.size * (world.size + 1) / 2)
    first = sum(part_sizes(length, world.size)[: world.rank])
    np.testing.assert_array_equal(part, total[first : first + part_sizes(length, world.size)[world.rank]])
    np.testing.assert_array_equal(whole, total)


def test_all_gather_of_parts_of_different_length(comm, call):
    rank, size = comm.world.rank, comm.world.size
    gathered = call(comm.all_gather, np.full(rank + 2, rank, np.int64))
    np.testing.assert_array_equal(gathered, np.concatenate([np.full(r + 2, r) for r in range(size)]))


def test_broadcast_from_every_root(comm, call):
    world = comm.world
    for root in range(world.size):
        received = call(lambda vector, root=root: comm.broadcast(vector, root), mine(1000, world))
        np.testing.assert_array_equal(received, BASE[1000] * (root + 1))


def test_sum_has_the_same_bits_on_every_rank_and_in_every_run(comm):
    numbers = np.random.default_rng(comm.world.rank).normal(size=100_003).astype(np.float32)
    first, again = comm.sum(numbers), comm.sum(numbers)
    same = same_on_all(comm, np.array([checksum(first)]))
    np.testing.assert_array_equal(first, again)
    assert same


@pytest.mark.engines("mpi")
def test_mpi_adds_in_a_fixed_order(comm):
    """Short vectors in rank order, long ones in a ring: part p from rank p+1 on, and rank p last."""
    size, long = comm.world.size, 100_003
    ranks = [np.random.default_rng(rank).normal(size=long).astype(np.float32) for rank in range(size)]
    ends = np.cumsum(part_sizes(long, size))
    in_a_ring = np.concatenate([added_up([ranks[(part + 1 + step) % size][end - length : end] for step in range(size)])
                                for part, (length, end) in enumerate(zip(part_sizes(long, size), ends))])
    mine = ranks[comm.world.rank]
    np.testing.assert_array_equal(comm.sum(mine), in_a_ring)
    np.testing.assert_array_equal(comm.sum(mine[:1001]), added_up([numbers[:1001] for numbers in ranks]))


def added_up(vectors: list[np.ndarray]) -> np.ndarray:
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    return total


def test_bytes_and_seconds_are_counted(comm):
    size, before = comm.world.size, comm.traffic
    comm.sum(np.ones(1000, np.float32))
    comm.reduce_scatter(np.ones(1000, np.float32))
    moved = comm.traffic - before
    # 2 (N-1)/N of 4,000 bytes for the sum, and half of that for the reduce-scatter
    assert moved.bytes_sent == pytest.approx(12_000 * (size - 1) / size, abs=1)
    assert (moved.seconds > 0 and moved.calls == 2) or comm.name == "single"


def test_all_are_refused_with_the_words_of_the_lowest(comm):
    def attempt():
        if comm.world.rank >= comm.world.size - 2:
            raise Refused(f"rank {comm.world.rank} says no")

    with pytest.raises(Refused) as refusal:
        run_on_all(comm, attempt)
    assert str(refusal.value) == f"rank {max(0, comm.world.size - 2)} says no"
    assert refusal.value.raised_on_all_ranks


def test_text_reaches_every_rank(comm):
    last = comm.world.size - 1
    assert broadcast_text(comm, f"schön von {comm.world.rank}", last) == f"schön von {last}"


def test_barrier_waits_for_the_slowest(comm):
    world, delay = comm.world, 0.3
    comm.barrier()
    started = time.monotonic()
    if world.rank == world.size - 1:
        time.sleep(delay)
    comm.barrier()
    assert time.monotonic() - started >= delay * 0.9


def test_shift_brings_the_vector_of_the_rank_below(comm, call):
    world = comm.world
    for distance in (0, 1, 2):
        received = call(lambda vector, d=distance: comm.ring_shift(vector, d), mine(1000, world))
        np.testing.assert_array_equal(received, BASE[1000] * ((world.rank - distance) % world.size + 1))


def test_all_to_all_deals_the_parts(comm, call):
    rank, size = comm.world.rank, comm.world.size
    sent = np.repeat(np.arange(size) + 100 * rank, 5).astype(np.float32)  # five numbers for each rank
    received = call(comm.all_to_all, sent)
    np.testing.assert_array_equal(received, np.repeat(100 * np.arange(size) + rank, 5))


def test_groups_of_ranks(comm):
    world = comm.world
    groups = [list(range(0, world.size, 2)), list(range(1, world.size, 2))] if world.size > 1 else [[0]]
    group = next(group for group in groups if world.rank in group)
    part = comm.split(groups)
    total, gathered = part.sum(np.float32([world.rank + 1])).numpy(), part.all_gather(np.int64([world.rank])).numpy()
    first = part.broadcast(np.int64([world.rank])).numpy()
    everyone = comm.sum(np.float32([1.0])).numpy()
    assert total == sum(rank + 1 for rank in group)
    assert gathered.tolist() == group and first == group[0]
    assert (part.world.rank, part.world.size) == (group.index(world.rank), len(group))
    assert everyone == world.size


@pytest.mark.jobs("mpi-2", "horovod-2")
@pytest.mark.ranks(2, 3, 4)
@pytest.mark.parametrize("meet", ["barrier", "maximum_int"])
def test_ranks_that_wait_for_one_leave_their_cores_to_it(comm, meet):
    comm.barrier()
    started, busy = time.perf_counter(), time.thread_time()
    if comm.world.is_root:
        time.sleep(1.0)
    comm.barrier() if meet == "barrier" else comm.maximum_int(0)
    assert time.thread_time() - busy < 0.5 * (time.perf_counter() - started)
