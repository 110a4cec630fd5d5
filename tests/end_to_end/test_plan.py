"""A plan on real ranks, and a run beside it."""

import json

import pytest

from tests.end_to_end.in_turn import run_in_turn

DATA = ["--data", "synthetic:4000x64", "--model", "shallow"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """What each command came to, as its first rank saw it: two on two ranks in one job, and three alone in one process."""
    folder = tmp_path_factory.mktemp("plan")
    on_two = [["plan", *DATA, "--output", "plan"], ["train", *DATA, "--epochs", "3", "--run-dir", "run"]]
    alone = [["plan", "--measured", "plan/plan-measured.json", "--run", "run"], ["plan", *DATA, "--output", "alone"],
             ["plan", *DATA, "--output", "alone", "--link-latency", "2e-6", "--link-bandwidth", "12.5e9"]]
    [planned, trained], _ = run_in_turn(2, on_two, folder)
    [alone] = run_in_turn(1, alone, folder)
    return folder, planned, trained, *alone


def test_two_ranks_measure_and_a_run_is_compared(ended):
    path, planned, trained, compared, *_ = ended
    folder, said = path / "plan", planned["out"]
    assert planned["status"] == trained["status"] == compared["status"] == 0, (planned, trained, compared)
    assert "parameter H=16" in said and "10,000 ranks: " in said
    measured = json.loads((folder / "plan-measured.json").read_text())
    assert measured["parameters"] == 4192 and measured["ranks"] == 2 and measured["samples"] == 3600
    assert measured["update_seconds"] > 0 and measured["step_seconds"] > 0
    sums = measured["sums"]["inside"]
    assert all(point["seconds"] > 0 for point in sums) and sums[-1]["bytes"] == 1 << 20
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert compared["out"].startswith("gradient on 2 ranks: predicted ") and "achieved" in compared["out"]


def test_alone_it_needs_a_link(ended):
    *_, without, with_link = ended
    assert without["status"] == 2 and without["err"].count("hvd-ae:") == 1 and "mpirun -np 2" in without["err"]
    assert with_link["status"] == 0 and "10,000 ranks" in with_link["out"]
