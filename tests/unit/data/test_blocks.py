"""How large blocks are where a format leaves that open."""

import h5py
import numpy as np
import pytest

from hvd_ae.data.blocks import bytes_a_block
from hvd_ae.data.open import open_source

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(("data_bytes", "block"), [
    (0, 128 * KB), (100 * MB, 128 * KB), (GB, 512 * KB), (2 * GB, MB), (9 * GB, MB)])
def test_little_data_are_cut_finer(data_bytes, block):
    assert bytes_a_block(data_bytes) == block


def test_a_window_of_a_tenth_of_little_data_has_many_blocks(tmp_path):
    """Bytes as Fashion-MNIST has them, in chunks of 256 samples; and the same as plain numbers."""
    images = np.zeros((20_000, 784), np.uint8)
    np.save(tmp_path / "x.npy", images)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(256, 784), compression="gzip", compression_opts=1)
    for name, blocks in (("x.h5", 79), ("x.npy", 120)):  # 20,000 / 256; 20,000 / (128 KB / 784 B)
        assert len(open_source(str(tmp_path / name)).block_starts) == blocks
