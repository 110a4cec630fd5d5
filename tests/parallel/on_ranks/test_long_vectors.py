"""Vectors that are longer than Horovod can count are right, with a limit that a test reaches without 8 GB of memory."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.collectives.communicator import part_sizes

LIMIT = 1000
LENGTHS = (LIMIT, LIMIT + 1, 3 * LIMIT + 7)


@pytest.fixture(autouse=True)
def low_limit(monkeypatch):
    if "hvd_ae.collectives.horovod" in sys.modules:
        monkeypatch.setattr("hvd_ae.collectives.horovod.LARGEST", LIMIT)


@pytest.mark.parametrize("known", ["eager", "length known", "length unknown"])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_collective(comm, known, length):
    world, size = comm.world, comm.world.size
    base = np.arange(length, dtype=np.float32) % 97
    padded = np.arange(length * size, dtype=np.float32) % 89 + 100 * world.rank

    def call(collective, vector):
        if known == "eager":
            return collective(vector).numpy()
        spec = tf.TensorSpec([len(vector) if known == "length known" else None], vector.dtype)
        return tf.function(collective, input_signature=[spec])(vector).numpy()

    mine, sizes = base * (world.rank + 1), part_sizes(length, size)
    before = comm.traffic
    total = call(comm.sum, mine)
    sent = (comm.traffic - before).bytes_sent
    lowest, highest = call(comm.minimum, mine), call(comm.maximum, mine)
    part = call(comm.reduce_scatter, mine)
    whole = call(comm.all_gather, part)
    uneven = call(comm.all_gather, base[: length // 2 + world.rank])
    last = call(lambda v: comm.broadcast(v, size - 1), mine)
    below = call(lambda v: comm.ring_shift(v, 1), mine)
    dealt = call(comm.all_to_all, padded)
    power = size & (size - 1) == 0
    same = call(comm.adasum, base) if power else base  # of equal vectors: themselves

    np.testing.assert_array_equal(total, base * (size * (size + 1) / 2))
    assert sent == pytest.approx(2 * 4 * length * (size - 1) / size, abs=1)
    np.testing.assert_array_equal(lowest, base)
    np.testing.assert_array_equal(highest, base * size)
    first = sum(sizes[: world.rank])
    np.testing.assert_array_equal(part, total[first : first + sizes[world.rank]])
    np.testing.assert_array_equal(whole, total)
    np.testing.assert_array_equal(uneven, np.concatenate([base[: length // 2 + rank] for rank in range(size)]))
    np.testing.assert_array_equal(last, base * size)
    np.testing.assert_array_equal(below, base * ((world.rank - 1) % size + 1))
    own = (np.arange(length * size, dtype=np.float32) % 89)[length * world.rank : length * (world.rank + 1)]
    np.testing.assert_array_equal(dealt, np.concatenate([own + 100 * rank for rank in range(size)]))
    np.testing.assert_allclose(same, base, rtol=1e-6)
