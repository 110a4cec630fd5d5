"""`hvd-ae compare`: several strategies in one job, a record each, and one that fails is a record that says so."""

import json

from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.commands import CompareSettings
from tests.launch import HVD_AE, mpirun, succeeded

# one that fails, and one for each that counts samples in its own manner; what each trains is shown in tests/parallel
COMPARED = ["gradient", "adasum", "parameter", "server:async"]


def test_no_strategy_is_left_out_of_a_comparison():
    assert set(CompareSettings().averaging.split(",")) == set(STRATEGIES) - {"none"} | {"server:async"}


def test_strategies_on_three_ranks(tmp_path):
    folder = tmp_path / "compare"
    said = succeeded(mpirun(3, HVD_AE, "compare", "--model", "shallow", "--batch-size", "16", "--steps", "40", "--averaging",
                            ",".join(COMPARED), "--run-dir", str(folder)))
    records = {record["strategy"]: record for record in map(json.loads, (folder / "compare.jsonl").read_text().splitlines())}
    assert list(records) == COMPARED
    assert "3 ranks are no power of two" in records["adasum"]["failed"]
    good = [record for record in records.values() if not record["failed"]]
    assert len(good) == len(COMPARED) - 1
    assert all(record["in_sync"] for record in good)
    # the same number of samples for all: 40 steps of 3 x 16, and for a server's two workers 60 of 2 x 16, give or take
    # the partial batches at the end of each epoch
    assert all(abs(record["samples"] - 1920) <= 100 for record in good)
    assert records["parameter"]["bytes_sent_per_rank"] < records["gradient"]["bytes_sent_per_rank"] / 8
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "compare.md").read_text() in said
