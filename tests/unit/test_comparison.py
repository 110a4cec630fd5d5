"""A comparison's table and Pareto front, from records made by hand."""

import re

from hvd_ae.commands.compare.table import pareto_front, table


def test_a_table_shows_medians_and_the_spread_over_seeds():
    common = {"strategy": "gradient", "sync_every": None, "failed": None, "best_val_mse": 0.1, "seconds": 2.0,
              "samples_per_second": 100.0, "bytes_sent_per_rank": 3e6, "communication_share": 0.25, "drift": None,
              "staleness": None}
    records = [{**common, "val_mse": value} for value in (0.1, 0.3, 0.2)]
    lines = table([*records, {"strategy": "adasum", "sync_every": None, "failed": "no"}]).splitlines()
    assert re.match(r"\| `gradient` \|  \| 0.20000 ± 0.10000 \| .*\| 3.0 \| 25.0% \|", lines[2])
    assert "failed: no" in lines[3]


def test_the_pareto_front():
    assert pareto_front([(3.0, 1.0), (1.0, 3.0), (2.0, 4.0), (2.0, 2.0), (4.0, 1.0)]) == [1, 3, 0]
