"""Targets from rows made by hand: met, missed, and not measured."""

import pytest

from benchmarks.allreduce import DEEP
from benchmarks.targets import Verdict, judge
from tests.unit.benchmarks import made_up


def verdicts(number: int, **history) -> list[tuple[float | None, str]]:
    """What becomes of rows that are the same in three runs."""
    thrice = {name: made_up.thrice(rows) for name, rows in history.items()}
    return [(found.values[0] if found.values else None, found.verdict) for found in judge(thrice)
            if found.target.number == number]


def test_without_rows_nothing_is_met():
    assert {found.verdict for found in judge({})} == {"not measured"}
    assert {found.target.number for found in judge({})} == set(range(1, 18))


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
    rows = [made_up.network("1 Gbit/s", strategy, 1 / seconds) for strategy, seconds in
            (("none", 0.010), ("gradient", 0.050), ("gradient K=2", 0.047), ("gradient K=4", 0.045))]
    assert verdicts(10, network=rows) == [(pytest.approx(0.75), "met")]
    assert verdicts(10, network=rows[:2]) == [(None, "not measured")]


def test_9_the_slower_start_counts():
    found = verdicts(9, startup=made_up.startup(help=0.3, alone=2.0, together=3.5))
    assert found == [(0.3, "met"), (3.5, "missed")]


def third(*runs: tuple[str, float | None], **of_rows) -> Verdict:
    """Target 3, at least 0.97, after runs that began at these hours and reached so much; None: they do not show it."""
    rows = []
    for hour, ratio in runs:
        shown = made_up.peers(gradient=90.0) if ratio is None else made_up.peers(parameter=100 * ratio, none=100.0)
        rows += made_up.at(hour, [{**row, **of_rows} for row in shown])
    return next(found for found in judge({"peers": rows}) if found.target.number == 3)


def test_a_target_is_met_when_it_holds_in_three_runs_at_different_hours():
    assert third(("03:00", 0.98), ("05:00", 0.99)).verdict == "not yet thrice"
    assert third(("03:00", 0.98), ("05:00", 0.99), ("07:00", 0.97)).verdict == "met"
    assert third(("03:00", 0.98), ("03:20", 0.98), ("03:50", 0.98)).verdict == "not yet thrice"  # one and the same hour
    assert third(("03:00", 0.98), ("03:20", 0.98), ("04:00", 0.98), ("05:00", 0.98)).verdict == "met"


def test_the_newest_three_hours_decide_and_a_miss_between_them_counts():
    assert third(("03:00", 0.98), ("05:00", 0.90), ("07:00", 0.98)).verdict == "missed"
    assert third(("01:00", 0.90), ("03:00", 0.98), ("05:00", 0.98), ("07:00", 0.98)).verdict == "met"
    assert third(("03:00", 0.98), ("05:00", 0.98), ("06:50", 0.90), ("07:00", 0.98)).verdict == "missed"
    assert third(("05:00", 0.90)).verdict == "missed"  # one is enough for that


def test_every_value_that_decided_is_there_the_newest_first_and_runs_that_do_not_show_it_are_passed_over():
    found = third(("03:00", 0.98), ("05:00", 0.99), ("06:00", None), ("07:00", 0.97))
    assert found.values == pytest.approx([0.97, 0.99, 0.98])
    assert found.run["run"].startswith("2026-01-02T07:00")


@pytest.mark.parametrize("busy, why", [
    ({"others_share": 0.06}, "others took 6% of the cores"),
    ({"others_share": None, "load_before": 0.6}, "load 0.6 before it"),  # of before others were measured
])
def test_a_run_beside_others_is_left_out_and_says_why(busy, why):
    found = third(("03:00", 0.98), ("05:00", 0.98), ("07:00", 0.98), **busy)
    assert (found.verdict, found.values, found.left_out) == ("not measured", [], [(pytest.approx(0.98), why)] * 3)
    assert third(("03:00", 0.98), others_share=0.05).left_out == []
    rows = made_up.thrice(made_up.peers(parameter=98.0, none=100.0))
    rows += made_up.at("09:00", [{**row, **busy} for row in made_up.peers(parameter=50.0, none=100.0)])
    found = next(found for found in judge({"peers": rows}) if found.target.number == 3)
    assert (found.verdict, found.left_out) == ("met", [(pytest.approx(0.5), why)])


def test_11_to_14_reading_on_two_ranks():
    read = made_up.input_row
    rows = [read("in order", 200.0, "hdf5", 2), read("windows", 60.0, "hdf5", 1, decoded=1.0),
            read("windows", 160.0, "hdf5", 2, decoded=1.01), read("held", 300.0, "zarr", 4, decoded=1.04),
            read("training", 20.0, "hdf5", 2), read("training", 25.0, "npy", 2), read("first epoch", 18.0, "hdf5", 2),
            read("first epoch", 24.0, "npy", 2), read("shuffles", 80.0), read("shuffles", 100.0), read("random", 2.0),
            read("shuffles", None)]
    assert verdicts(11, input=rows) == [(1.04, "met")]
    assert verdicts(12, input=rows) == [(pytest.approx(0.8), "missed")]
    assert verdicts(13, input=rows) == [(pytest.approx(0.75), "missed"), (pytest.approx(0.8), "missed")]
    assert verdicts(14, input=rows) == [(pytest.approx(1.6), "met"), (pytest.approx(80.0), "met")]
    assert verdicts(12, input=rows[:2]) == [(None, "not measured")]


def test_15_to_17_contiguous_files_order_and_memory():
    read = made_up.input_row
    rows = [read("held", 95.0, "contiguous", 2), read("held", 100.0, "npy", 2), read("held", 9.0, "npy", 1)]
    rows += [read("by class", what=f"by class, {order}", val_mse=error)
             for order, error in (("uniform", 0.010), ("windows of a tenth", 0.0101))]
    rows += [read("memory", what=f"memory, {size} data", peak=peak) for size, peak in (("little", 1.0e9), ("much", 2.4e9))]
    assert verdicts(15, input=rows) == [(pytest.approx(0.95), "met")]
    assert verdicts(16, input=rows) == [(pytest.approx(1.01), "met")]
    assert verdicts(17, input=rows) == [(pytest.approx(1.4), "missed")]
