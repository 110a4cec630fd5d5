"""Targets from rows made by hand: met, missed, and not measured."""

import pytest

from benchmarks.allreduce import DEEP
from benchmarks.targets import judge
from tests.unit.benchmarks import made_up


def verdicts(number: int, **history) -> list[tuple[float | None, str]]:
    return [(found.value, found.verdict) for found in judge(history) if found.target.number == number]


def test_without_rows_nothing_is_met():
    assert {found.verdict for found in judge({})} == {"not measured"}
    assert {found.target.number for found in judge({})} == set(range(1, 11))


def test_1_the_faster_of_gradient_and_sharded_over_the_best_peer():
    rows = made_up.peers(gradient=100.0, sharded=130.0, torch=100.0, ddp=80.0, keras=None)
    assert verdicts(1, peers=rows) == [(pytest.approx(1.3), "met"), (pytest.approx(1.625), "missed")]
    assert verdicts(1, peers=made_up.peers(gradient=100.0, torch=None, ddp=None)) == [(None, "not measured")] * 2


def test_2_the_fastest_step_over_the_fastest_passes():
    assert verdicts(2, step=made_up.step(gradient=0.012, sharded=0.010, passes=0.009)) == [(pytest.approx(0.9), "met")]
    assert verdicts(2, step=made_up.step(gradient=0.012)) == [(None, "not measured")]


def test_3_parameter_over_none():
    assert verdicts(3, peers=made_up.peers(parameter=96.0, none=100.0)) == [(pytest.approx(0.96), "missed")]


def test_4_two_ranks_over_twice_one():
    rows = made_up.scaling("gradient", one=100.0, two=150.0) + made_up.scaling("sharded", one=100.0, two=190.0)
    assert verdicts(4, scaling=rows) == [(pytest.approx(0.95), "met"), (None, "not measured")]
    rows = made_up.scaling("parameter H=16", one=100.0, two=190.0)
    assert verdicts(4, scaling=rows)[1] == (pytest.approx(0.95), "missed")


def test_5_the_slower_engine_counts_at_the_size_of_deep():
    rows = made_up.allreduce(4, horovod=9.0, mpi=9.0, MPI=1.0) + made_up.allreduce(DEEP, horovod=1.2, mpi=1.4, MPI=1.0)
    assert verdicts(5, allreduce=rows) == [(pytest.approx(1.4), "missed")]


def test_6_speed_on_the_slow_link_and_error_in_the_end():
    rows = [made_up.network("unlimited", "parameter H=64", 100.0), made_up.network("100 Mbit/s", "parameter H=64", 95.0),
            made_up.network("100 Mbit/s", "overlapped H=64@mpi", 80.0), made_up.network("unlimited", "overlapped H=64", 85.0),
            made_up.network(None, "gradient", None, 0.010), made_up.network(None, "parameter H=64", None, 0.012),
            made_up.network(None, "overlapped H=64", None, 0.0105)]
    assert verdicts(6, network=rows) == [(pytest.approx(0.95), "met"), (pytest.approx(1.2), "missed"),
                                         (pytest.approx(0.80), "missed"), (pytest.approx(1.05), "met")]


def test_7_only_a_file_of_4_gb_shows_it_and_the_worst_number_of_ranks_counts():
    rows = [made_up.memory("little", 1, 1e9, 99.0, 1e6), made_up.memory("memory-mapped", 1, 1.5e9, 90.0),
            made_up.memory("in memory", 1, 5e9, 100.0),
            made_up.memory("little", 2, 1e9, 99.0, 1e6), made_up.memory("memory-mapped", 2, 2.5e9, 70.0),
            made_up.memory("in memory", 2, 5e9, 100.0)]
    assert verdicts(7, memory=rows) == [(pytest.approx(1.5), "missed"), (pytest.approx(0.7), "missed")]
    small = [{**row, "data_bytes": 2e8} for row in rows]
    assert verdicts(7, memory=small)[0] == (None, "not measured")


def test_8_the_engine_that_takes_less_counts():
    rows = [made_up.p1b1("gradient", "horovod", 5.5), made_up.p1b1("gradient", "mpi", 6.5),
            made_up.p1b1("sharded", "mpi", 5.2)]
    assert verdicts(8, p1b1=rows) == [(5.5, "met"), (5.2, "missed")]


def test_10_what_is_hidden_of_what_could_be():
    """Steps of 10 ms alone and 50 with communication, of which no more than the backward pass, 6.7 ms, can be hidden."""
    rows = [made_up.network("1 Gbit/s", way, 1 / seconds) for way, seconds in
            (("none", 0.010), ("gradient", 0.050), ("gradient K=2", 0.047), ("gradient K=4", 0.045))]
    assert verdicts(10, network=rows) == [(pytest.approx(0.75), "met")]
    assert verdicts(10, network=rows[:2]) == [(None, "not measured")]


def test_9_the_slower_start_counts():
    found = verdicts(9, startup=made_up.startup(help=0.3, alone=2.0, together=3.5))
    assert found == [(0.3, "met"), (3.5, "missed")]


def test_the_newest_run_that_shows_a_target_decides():
    old = made_up.peers(parameter=99.0, none=100.0)
    newer = [{**row, "run": "2026-02-01T00:00:00+0000"} for row in made_up.peers(parameter=90.0, none=100.0)]
    without = [{**row, "run": "2026-03-01T00:00:00+0000"} for row in made_up.peers(gradient=90.0)]
    assert verdicts(3, peers=[*old, *newer, *without]) == [(pytest.approx(0.9), "missed")]
