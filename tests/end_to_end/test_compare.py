"""`hvd-ae compare`: several ways in one job, a row each, and a way that fails is a row that says so."""

import json

import pytest
from hvd_ae.config import WAY_SETTINGS, CompareSettings

from tests.launch import HVD_AE, mpirun, succeeded

# one that fails, and one for each that counts samples in its own manner; what each trains is shown in tests/parallel
STRATEGIES = ["gradient", "sharded", "adasum", "parameter", "one-shot", "server", "server:async"]


def test_no_way_is_left_out_of_a_comparison():
    assert set(CompareSettings().strategies.split(",")) == set(WAY_SETTINGS) - {"none"} | {"server:async"}


def test_ways_on_three_ranks(tmp_path):
    folder = tmp_path / "compare"
    said = succeeded(mpirun(3, HVD_AE, "compare", "--model", "shallow", "--batch-size", "16", "--steps", "40", "--averaging",
                            ",".join(STRATEGIES), "--run-dir", str(folder)))
    rows = {row["way"]: row for row in map(json.loads, (folder / "compare.jsonl").read_text().splitlines())}
    assert list(rows) == STRATEGIES
    assert "3 ranks are no power of two" in rows["adasum"]["failed"]
    good = [row for row in rows.values() if not row["failed"]]
    assert len(good) == len(STRATEGIES) - 1
    assert all(row["in_sync"] for row in good)
    # the same number of samples for all: 40 steps of 3 x 16, and for a server's two workers 60 of 2 x 16, give or take
    # the partial batches at the end of each epoch
    assert all(abs(row["samples"] - 1920) <= 100 for row in good)
    start = {row["way"]: row["curve"][0][2] for row in good}
    assert start["gradient"] == pytest.approx(start["sharded"], rel=1e-4)
    assert rows["parameter"]["bytes_sent_per_rank"] < rows["gradient"]["bytes_sent_per_rank"] / 8
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "compare.md").read_text() in said
