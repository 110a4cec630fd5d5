"""The detector on ranks: what one rank alone would have come to."""

import numpy as np
import pytest

import hvd_ae.detector
from hvd_ae import Detector, Refused
from hvd_ae.collectives.single import SingleCommunicator

pytestmark = [pytest.mark.jobs("mpi-2"), pytest.mark.ranks(2), pytest.mark.soak]
RANDOM = np.random.default_rng(23)
VALUES = (RANDOM.normal(size=(301, 2)) @ RANDOM.normal(size=(2, 6)) + 0.1 * RANDOM.normal(size=(301, 6))).astype(np.float32)


def test_two_ranks_find_what_one_rank_finds(comm, monkeypatch):
    monkeypatch.setattr(hvd_ae.detector, "_communicator", lambda engine, threads: comm)
    together = Detector(contamination=0.1, steps=20).fit(VALUES)
    scores, threshold = together.decision_function(VALUES), together.threshold_
    with pytest.raises(Refused, match="X is not the same on all ranks"):
        together.decision_function(VALUES + comm.world.rank)
    gathered = comm.all_gather(scores).numpy().reshape(2, -1)
    monkeypatch.setattr(hvd_ae.detector, "_communicator", lambda engine, threads: SingleCommunicator())
    judged_alone = together.decision_function(VALUES)
    alone = Detector(contamination=0.1, steps=20).fit(VALUES)  # global batches of 128 as well
    comm.barrier()
    np.testing.assert_array_equal(gathered[0], gathered[1])
    np.testing.assert_array_equal(judged_alone, scores)
    assert threshold == np.quantile(together.decision_scores_.astype(np.float64), 0.9)
    np.testing.assert_allclose(alone.decision_scores_, together.decision_scores_, rtol=2e-2)
    np.testing.assert_allclose(alone.threshold_, threshold, rtol=1e-2)
