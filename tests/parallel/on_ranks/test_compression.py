"""Sums with 16 bits a number on the wire: within the bound that is promised, and half the bytes."""

import numpy as np
import pytest
import tensorflow as tf

from hvd_ae.averaging.compression import compressed_sum
from tests.parallel.on_ranks.training import reference, train

ADVERSARIAL = {
    "normal": lambda r: r.normal(size=999),
    "beyond fp16": lambda r: r.normal(size=999) * 1e6,
    "near the largest fp16": lambda r: np.full(999, 65000.0),
    "tiny": lambda r: r.normal(size=999) * 1e-20,
    "mixed": lambda r: r.normal(size=999) * 10.0 ** r.integers(-8, 8, size=999),
    "zero": lambda r: np.zeros(999),
}


@pytest.mark.jobs("mpi-3", "horovod-2")
@pytest.mark.parametrize("compression, roundoff", [("fp16", 2**-11), ("bf16", 2**-8)])
@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_compressed_sums_stay_within_the_bound(comm, compression, roundoff, kind):
    size = comm.world.size
    addends = [ADVERSARIAL[kind](np.random.default_rng(rank)).astype(np.float32) for rank in range(size)]
    ours = compressed_sum(comm, tf.constant(addends[comm.world.rank]), compression).numpy()
    exact, sizes = np.sum(addends, axis=0, dtype=np.float64), np.sum(np.abs(addends), axis=0, dtype=np.float64)
    bound = roundoff * (sizes + np.abs(exact)) * 1.01 + 1e-6 * sizes
    if compression == "fp16":  # what is below float16's smallest number, once the largest sum fits, is lost
        bound += (size + 1) * size * np.abs(addends).max() * 2.0**-24
    assert np.all(np.abs(ours - exact) <= bound)


@pytest.mark.jobs("mpi-3")
def test_compressed_sums_reach_the_edge_of_float16_and_not_beyond(comm):
    """Numbers that are all rounded up to float16: their exact sum fits, that of the rounded ones would not."""
    size = comm.world.size
    for number in (65499.0 / size, 65503.0 / size, 65504.0 / size, np.float32(65504.0 * 2**40) / size):
        ours = compressed_sum(comm, tf.constant([number, number / 2], tf.float32), "fp16").numpy()
        np.testing.assert_allclose(ours, [number * size, number * size / 2], rtol=2**-10)


@pytest.mark.jobs("mpi-2", "horovod-2")
@pytest.mark.parametrize("compression, largest_ratio", [("fp16", 0.51), ("bf16", 0.51)])
def test_compressed_gradients_send_half_the_bytes_and_learn(comm, compression, largest_ratio):
    ours, reports = train(comm, compression=compression, optimizer="adam", learning_rate=0.01)
    _, expected = reference(comm, averaging="gradient", optimizer="adam", learning_rate=0.01)
    assert reports[-1].val_mse == pytest.approx(expected[-1].val_mse, rel=0.02)
    assert reports[-1].in_sync
    if comm.world.size > 1:
        assert reports[-1].bytes_sent_per_rank / expected[-1].bytes_sent_per_rank <= largest_ratio
