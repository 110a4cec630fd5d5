"""The model of a plan against formulas by hand, and the command without MPI."""

import json
import math
import subprocess
import sys

import pytest

from hvd_ae.averaging.cost import Job, Link, all_reduce, slowest
from hvd_ae.commands.plan.achieved import achieved, finished
from hvd_ae.commands.plan.advice import smallest_period
from hvd_ae.commands.plan.model import fit, has_period, predict, predicted
from hvd_ae.commands.plan.plan import make_job, plan
from hvd_ae.errors import Refused
from hvd_ae.settings.commands import PlanSettings

LINK = Link(latency=1e-5, per_byte=1e-9)
JOB = Job(step=0.010, spread=0.0, update=0.002, size=4_000_000, batch=100, samples=10_000, inside=LINK,
          between=Link(2e-5, 4e-9), per_node=2)
MEASURED = {"model": "deep", "parameters": 1_000_000, "batch_size": 100, "samples": 10_000, "step_seconds": 0.01,
            "step_spread_seconds": 0.001, "update_seconds": 0.002, "ranks": 2, "ranks_per_node": 2,
            "links": {"inside": {"latency_seconds": 1e-5, "seconds_per_byte": 1e-9}}}


def test_an_all_reduce_of_large_vectors_moves_each_byte_twice_less_one_part():
    assert all_reduce(1, 1e6, LINK) == 0.0
    assert all_reduce(2, 1e6, LINK) == pytest.approx(1e-5 + 1e-3)  # one exchange of the whole vector
    assert all_reduce(4, 1e6, LINK) == pytest.approx(2 * 2 * 1e-5 + 2 * 3 / 4 * 1e-3)  # halving and doubling
    assert all_reduce(1000, 1e9, LINK) == pytest.approx(2 * 10 * 1e-5 + 2 * 0.999)


def test_an_all_reduce_of_small_vectors_costs_a_latency_for_each_doubling():
    assert all_reduce(1024, 4, LINK) == pytest.approx(10 * (1e-5 + 4e-9))


def test_the_slowest_of_two_is_late_by_the_known_number():
    assert slowest(1) == 0.0
    assert slowest(2) == pytest.approx(1 / math.sqrt(math.pi), rel=0.05)  # exact for two normal numbers
    assert slowest(1000) == pytest.approx(3.241, rel=0.01)  # tables of normal order statistics
    assert slowest(10) < slowest(100) < slowest(10_000)


def test_gradient_on_two_nodes_reduces_inside_and_then_between():
    inside, between = 1e-5 + 4e-3, 2e-5 + 1.6e-2
    found = predict(JOB, "gradient", None, 4)
    assert found.nodes == 2
    assert found.seconds_per_step == pytest.approx(0.010 + inside + between)
    assert found.efficiency == pytest.approx(0.010 / found.seconds_per_step)
    assert found.communication_share == pytest.approx(1 - found.efficiency)
    assert found.samples_per_second == pytest.approx(400 / found.seconds_per_step)
    assert found.seconds_per_epoch == pytest.approx(25 * found.seconds_per_step)


def test_sharded_saves_its_part_of_the_update():
    gradient, sharded = (predict(JOB, strategy, None, 4).seconds_per_step for strategy in ("gradient", "sharded"))
    assert gradient - sharded == pytest.approx(0.002 * 3 / 4)


def test_communication_shrinks_as_the_period_grows_and_the_wait_as_its_root():
    every_step, seldom = (predict(JOB, "parameter", every, 4).seconds_per_step - 0.010 for every in (1, 16))
    assert seldom == pytest.approx(every_step / 16)
    noisy = Job(**{**vars(JOB), "spread": 0.001, "size": 0, "inside": Link(0, 0), "between": Link(0, 0)})
    once, rarely = (predict(noisy, "parameter", every, 4).seconds_per_step - 0.010 for every in (1, 16))
    assert once == pytest.approx(0.001 * slowest(4)) and rarely == pytest.approx(once / 4)


def test_of_an_overlapped_average_only_what_outlasts_the_period_is_seen():
    communicating = predict(JOB, "gradient", None, 4).seconds_per_step - 0.010
    assert 0.010 < communicating < 0.040
    assert predict(JOB, "overlapped", 1, 4).seconds_per_step == pytest.approx(communicating)
    assert predict(JOB, "overlapped", 4, 4).seconds_per_step == pytest.approx(0.010)


def test_every_strategy_that_is_predicted_says_what_it_costs_and_the_others_that_they_are_not():
    """Which of them have a period is what their settings say."""
    assert predicted() == ["gradient", "sharded", "adasum", "parameter", "overlapped", "hierarchical", "one-shot", "elastic",
                           "gossip", "sequential", "none"]
    assert [name for name in predicted() if has_period(name)] == ["parameter", "overlapped", "hierarchical", "elastic",
                                                                  "sequential"]
    assert predict(JOB, "gradient", 16, 4).every is None and predict(JOB, "parameter", 16, 4).every == 16


def test_one_rank_alone_loses_nothing_and_sequential_ranks_take_turns():
    for strategy in predicted():
        assert predict(JOB, strategy, 16, 1).efficiency == 1.0
    assert predict(Job(**{**vars(JOB), "size": 0, "inside": Link(0, 0), "between": Link(0, 0)}), "sequential", 16,
                   4).efficiency == pytest.approx(1 / 4)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_the_fit_finds_the_link_that_made_the_times(ranks):
    rounds, moved = 2 * math.ceil(math.log2(ranks)), 2 * (ranks - 1) / ranks
    points = [(size, rounds * 3e-6 + moved * size * 2e-10) for size in (4096, 65_536, 1 << 20, 64 << 20)]
    found = fit(points, ranks)
    assert found.latency == pytest.approx(3e-6) and found.per_byte == pytest.approx(2e-10)


def test_a_fit_never_gives_numbers_below_zero():
    assert fit([(4096, 1e-6), (1 << 20, 1e-3)], 2).latency >= 0
    assert fit([(4096, 1e-3), (1 << 20, 1e-4)], 2).per_byte >= 0


def test_the_smallest_period_is_the_smallest():
    every = smallest_period(JOB, 64, 0.9)
    assert predict(JOB, "parameter", every, 64).efficiency >= 0.9 > predict(JOB, "parameter", every // 2, 64).efficiency
    free = Job(**{**vars(JOB), "size": 4, "inside": Link(0, 1e-12), "between": Link(0, 1e-12)})
    assert smallest_period(free, 64, 0.9) == 1


def test_a_given_link_stands_for_the_one_between_nodes():
    job = make_job(MEASURED, PlanSettings(link_latency=1e-6, link_bandwidth=1e10, ranks_per_node=8))
    assert job.between == Link(1e-6, 1e-10) and job.inside == LINK and job.per_node == 8
    assert make_job(MEASURED, PlanSettings()).between == LINK


def test_a_plan_from_a_file_needs_no_mpi(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(MEASURED))
    code = ("import sys; from hvd_ae.cli import main; status = main(sys.argv[1:]); "
            "sys.exit(status or bool({'mpi4py', 'horovod'} & sys.modules.keys()))")
    ended = subprocess.run([sys.executable, "-c", code, "plan", "--measured", str(tmp_path / "m.json"), "--output",
                            str(tmp_path / "plan"), "--ranks", "1,64"],
                           capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "| 64 | 32 |" in ended.stdout and "H=64" in ended.stdout
    assert (tmp_path / "plan" / "plan.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "plan" / "plan.json").read_text())["predictions"]
    assert {row["ranks"] for row in rows} == {1, 64}


@pytest.mark.parametrize(("changes", "said"), [
    ({"measured": "no-such-file"}, "no-such-file' cannot be read"),
    ({"averaging": "gradient,server"}, "averaging='server' is not predicted"),
    ({"ranks": "1,x"}, "ranks='1,x' must be whole numbers"),
    ({"link_latency": 1e-6}, "belong together"),
    ({"run": "no-such-run"}, "holds no summary.json that can be read"),
])
def test_what_cannot_be_planned_is_refused(tmp_path, changes, said):
    (tmp_path / "m.json").write_text(json.dumps(MEASURED))
    with pytest.raises(Refused, match=said):
        plan(PlanSettings(**{"measured": str(tmp_path / "m.json"), "output": str(tmp_path / "plan"), **changes}))


def test_a_run_of_another_job_is_not_compared(tmp_path):
    summary = {"averaging": "gradient", "sync_every": None, "samples_per_second": 1000.0, "ranks": 2, "parameters": 1_000_000}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "config.toml").write_text("batch_size = 100\nbuckets = 1\n")
    job = make_job(MEASURED, PlanSettings())
    assert achieved(job, str(tmp_path), finished(str(tmp_path))).startswith("gradient on 2 ranks: predicted ")
    (tmp_path / "config.toml").write_text("batch_size = 100\nbuckets = 4\n")
    with pytest.raises(Refused, match="had buckets=4, but the prediction is for 1"):
        achieved(job, str(tmp_path), finished(str(tmp_path)))
    (tmp_path / "config.toml").write_text("batch_size = 100\n")
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "parameters": 7}))
    with pytest.raises(Refused, match="measure the same model"):
        achieved(job, str(tmp_path), finished(str(tmp_path)))


def test_one_rank_alone_without_a_link_is_refused():
    with pytest.raises(Refused, match="shows no link: start `hvd-ae plan` with mpirun -np 2"):
        make_job({**MEASURED, "links": {}}, PlanSettings())


@pytest.mark.parametrize(("name", "value"), [("efficiency", 1.5), ("link_bandwidth", 0.0), ("ranks_per_node", 0)])
def test_numbers_that_make_no_sense_are_refused(name, value):
    with pytest.raises(Refused, match=name):
        PlanSettings(**{name: value})


@pytest.mark.parametrize("summary, config", [
    ("[]", ""), ('{"averaging": "gradient"}', ""), (b"\xff{}", ""), (None, "batch_size = "), (None, b"\xff"), (None, None)])
def test_a_run_whose_files_are_damaged_is_refused(tmp_path, summary, config):
    whole = {"averaging": "gradient", "sync_every": None, "ranks": 2, "samples_per_second": 100.0, "parameters": 1_000_000}
    for name, text in (("summary.json", json.dumps(whole) if summary is None else summary), ("config.toml", config)):
        if text is not None:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Refused, match="summary.json|config.toml"):
        achieved(JOB, str(tmp_path), finished(str(tmp_path)))
