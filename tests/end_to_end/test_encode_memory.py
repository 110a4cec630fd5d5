"""What a rank of `hvd-ae encode` holds of data that fit into no memory; HVD_AE_ENCODE_GB=8 shows it of 8 GB."""

import os

import numpy as np
import pytest

from benchmarks import jobs
from benchmarks.encode import FEATURES, make_data

GIGABYTES = float(os.environ.get("HVD_AE_ENCODE_GB", "1"))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_rank_holds_little_of_the_data_beyond_the_model(tmp_path):
    """The peak of each of two ranks, over that with 8 MB of data: programs, the model and what a block takes are in both."""
    jobs.run([jobs.HVD_AE, "train", "--data", f"synthetic:1000x{FEATURES}", "--model", "deep", "--steps", "1", "--run-dir",
              str(tmp_path / "run")])
    peaks = {}
    for name, size in (("little", 8e6), ("much", GIGABYTES * 1e9)):
        count = int(size / (4 * FEATURES))
        data, codes = make_data(tmp_path / f"{name}.npy", count), tmp_path / f"{name}-codes.npy"
        ended = jobs.run(jobs.mpirun(2, jobs.HVD_AE, "encode", str(tmp_path / "run"), "--data", str(data), "--output",
                                     str(codes)), timeout=800)
        peaks[name] = [ended.memory[rank]["peak"] for rank in (0, 1)]
        assert np.load(codes, mmap_mode="r").shape == (count, 32)
        data.unlink()
    print(f"{GIGABYTES:g} GB: " + ", ".join(f"rank {rank} {much / 1e6:,.0f} MB, with little data {little / 1e6:,.0f} MB"
                                            for rank, (much, little) in enumerate(zip(peaks["much"], peaks["little"]))))
    assert max(much - little for much, little in zip(peaks["much"], peaks["little"])) < 0.3e9
