"""What an epoch's record says of each rank: measured there, and the same list everywhere."""

import json

import numpy as np
import pytest

from hvd_ae.training.report import _of_ranks
from tests.parallel.on_ranks.training import reference

pytestmark = pytest.mark.jobs("mpi-3", "horovod-2")


def test_a_record_has_the_seconds_of_each_rank(comm):
    _, reports = reference(comm)
    records = [report.record() for report in reports]
    texts = comm.all_gather(np.frombuffer(json.dumps(records).encode(), np.uint8).astype(np.int64)).numpy()
    mine = comm.world.rank
    assert len(set(map(bytes, np.array_split(texts.astype(np.uint8), comm.world.size)))) == 1  # the same on all
    for record in records:
        ranks = record["of_ranks"]
        assert ranks["rank"] == list(range(comm.world.size)) and {len(each) for each in ranks.values()} == {comm.world.size}
        assert max(ranks["seconds"]) == pytest.approx(record["seconds"], abs=1e-4)
        assert np.mean(ranks["communication_seconds"]) == pytest.approx(record["communication_seconds"], abs=1e-4)
        assert all(0 <= waiting <= seconds for waiting, seconds in zip(ranks["input_seconds"], ranks["seconds"]))
        assert 1e8 < ranks["memory"][mine] < 1e11


def test_of_many_ranks_the_record_keeps_some_from_the_slowest_to_the_fastest():
    each = np.zeros((1000, 5))
    each[:, 0] = 10 + np.random.default_rng(0).permutation(1000)
    kept = _of_ranks(each)
    assert len(kept["rank"]) == 64 and kept["rank"] == sorted(kept["rank"]) and "gpu_memory" not in kept
    assert {min(kept["seconds"]), max(kept["seconds"])} == {10, 1009}
    assert [each[rank, 0] for rank in kept["rank"]] == kept["seconds"]
