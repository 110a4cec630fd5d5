"""What benchmarks compute: bandwidths, spreads, arithmetic of a step, whole periods, and whose turn it is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import resident, rows, strategies
from benchmarks.allreduce import DEEP, sizes_between, with_bandwidth
from benchmarks.contest import alternate
from benchmarks.floor import floor_of_step, flops_of_step
from benchmarks.jobs import JobFailed, run
from benchmarks.peers import side_by_side
from tests.unit.benchmarks import made_up


def test_bandwidths_are_those_of_nccl_tests():
    row = {"contestant": "mpi", "bytes": 4_000_000_000, "ranks": 4, "median": 2.0}
    assert with_bandwidth(row) == {**row, "algorithm_gb_s": 2.0, "bus_gb_s": 3.0}  # 2 (4 - 1) / 4 times as much
    assert with_bandwidth({**row, "contestant": "copy"})["bus_gb_s"] is None


def test_sizes_hold_that_of_the_model_deep():
    assert sizes_between(4, 100) == [4, 16, 64]
    assert DEEP in sizes_between(4, 16 << 20)
    assert sizes_between(4, 256 << 20)[-1] == 256 << 20


def test_spread():
    found = rows.spread([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found["low"], found["median"], found["high"]) == (2.0, 3.0, 4.0)
    assert rows.spread([7.0])["low"] == rows.spread([7.0])["high"] == 7.0
    assert rows.spread([])["median"] is None


def test_what_others_took_is_what_the_cores_did_beyond_the_own_processes():
    """Ten seconds of two cores: busy for 14, of which 11 were the benchmark's own, so that others had 3 of 20."""
    begun, ended = rows.Used(100.0, 50.0, 7.0), rows.Used(110.0, 64.0, 18.0)
    assert rows.others_share(begun, ended, cores=2) == pytest.approx(0.15)
    assert rows.others_share(begun, rows.Used(110.0, 60.9, 18.0), cores=2) == 0.0  # clocks tick in hundredths
    assert rows.others_share(begun, rows.Used(100.001, 50.02, 7.0), cores=2) == 1.0
    assert rows.others_share(begun, begun, cores=2) is None


def test_ones_own_processes_are_not_others_and_others_are():
    """A child that is waited for keeps a core busy, and then a process that is no child of this one."""
    busy = "import time; end = time.process_time() + 1.0\nwhile time.process_time() < end: pass"
    begun = rows.used()
    subprocess.run([sys.executable, "-c", busy], check=True)
    ended = rows.used()
    assert ended.own - begun.own >= 1.0 and ended.clock - begun.clock >= 1.0
    assert ended.all - begun.all >= 0.9
    orphan = f"{sys.executable} -c '{busy}' > /dev/null & echo $!"
    begun = rows.used()
    number = subprocess.run(["sh", "-c", orphan], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2]:
        time.sleep(0.05)
    ended = rows.used()
    assert (ended.all - begun.all) - (ended.own - begun.own) >= 0.8


def test_a_contestant_with_more_turns_takes_them_in_every_round():
    turns = []
    alternate({name: lambda name=name: turns.append(name) or 1.0 for name in "abc"}, rounds=2, turns={"b": 3})
    assert "".join(turns) == "abcbb" + "bcbba"


def test_every_peer_has_the_allocator_that_this_package_gives_itself():
    """A block of 20 MB is not mapped anew, and when it is freed it stays: what glibc says of itself, in the job of a peer."""
    asks = """
import ctypes, sys
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
c = ctypes.CDLL(None)
c.mallinfo2.restype, c.malloc.restype, c.free.argtypes = Info, ctypes.c_void_p, [ctypes.c_void_p]
if sys.argv[1:]:
    from hvd_ae.runtime.tensorflow_setup import _choose_allocator
    _choose_allocator()
before = c.mallinfo2()
block = c.malloc(20 << 20)
mapped = c.mallinfo2().hblks - before.hblks
c.free(block)
print(mapped, c.mallinfo2().fordblks >= 20 << 20)
"""
    command = [sys.executable, "-c", asks]
    assert run(command).output.split() == ["1", "False"]
    assert run(command, **side_by_side.ALLOCATOR).output.split() == run([*command, "ours"]).output.split() == ["0", "True"]


def test_flops_of_a_step_of_deep():
    """784-512-256-128-64-32 and back has 1,150,976 weights, of which the first 401,408 need no gradient of their inputs."""
    assert flops_of_step(1) == 2 * (3 * 1_150_976 - 401_408)


def test_the_floor_is_the_sum_of_its_parts():
    rows_of_step = made_up.step(product=2 * 1024**3 / 1e11, copy=2 * (64 << 20) / 1e10, bare=0.001)
    floor = floor_of_step(rows_of_step)
    assert floor["matrix products"] == pytest.approx(flops_of_step(128) / 1e11)
    assert floor["memory of the update"] == pytest.approx(7 * 4 * 1_153_712 / 1e10)
    assert floor["all three"] == pytest.approx(floor["matrix products"] + floor["memory of the update"] + 0.001)
    assert floor_of_step(made_up.step(passes=0.005)) == {}


def test_a_strategy_is_flags_and_trains_whole_periods():
    assert strategies.flags("parameter H=64") == ["--averaging", "parameter", "--sync-every", "64"]
    assert strategies.flags("gradient:bf16") == ["--averaging", "gradient", "--compression", "bf16"]
    assert strategies.flags("gradient K=4") == ["--averaging", "gradient", "--buckets", "4"]
    assert strategies.flags("sharded@mpi") == ["--averaging", "sharded", "--collectives", "mpi"]
    assert strategies.steps_for("parameter H=64", 100) == 128
    assert strategies.steps_for("gradient", 100) == 100


def test_contestants_take_turns_and_none_is_always_first():
    turns = []
    outcomes = alternate({name: lambda name=name: turns.append(name) or len(turns) for name in "abc"}, rounds=3)
    assert "".join(turns) == "abc" + "bca" + "cab"
    assert outcomes["a"].values == [1, 6, 8]


def test_a_contestant_that_fails_has_no_number_and_no_further_turn():
    def fails():
        turns.append("fails")
        raise JobFailed("it is not installed")

    turns = []
    outcomes = alternate({"fails": fails, "works": lambda: 2.0}, rounds=3)
    assert turns == ["fails"]
    assert (outcomes["fails"].values, outcomes["fails"].reason) == ([], "it is not installed")
    assert outcomes["works"].values == [2.0] * 3


def test_rows_keep_what_is_needed_to_read_them(tmp_path):
    rows.append("startup", [{"what": "nothing", **rows.spread([])}], {"short": True}, tmp_path)
    rows.append("startup", [{"what": "something", **rows.spread([1.0])}], {"short": True}, tmp_path)
    first, second = rows.read("startup", tmp_path)
    assert first["median"] is None and second["median"] == 1.0
    assert 0 <= first["others_share"] <= 1 and first["load_before"] >= 0
    assert first["cores"] == len(os.sched_getaffinity(0)) and first["cpu"] and first["versions"]["numpy"]
    assert rows.read("peers", tmp_path) == []
    rows.append("plan", [{"way": "gradient"}, {"strategy": "sharded"}], {}, tmp_path)
    assert [row["strategy"] for row in rows.read("plan", tmp_path)] == ["gradient", "sharded"]  # before 0.2 and since
    with pytest.raises(ValueError, match="JSON"):
        rows.append("startup", [{"median": float("nan")}], {}, tmp_path)


@pytest.mark.parametrize("code, reason", [
    ("raise ValueError('no such thing')", "ValueError: no such thing"),
    ("import time; time.sleep(60)", "did not end within 1 s"),
])
def test_a_job_that_fails_says_why(code, reason):
    with pytest.raises(JobFailed, match=reason):
        run([sys.executable, "-c", code], timeout=1)


def test_a_job_has_no_more_cores_than_it_is_given():
    assert run([sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"], cores=1).output.strip() == "1"


def test_memory_of_ranks_below_a_launcher():
    """Two ranks below a proxy below a launcher, as with mpirun; the memory that rank 1 has allocated is seen."""
    rank = f"{sys.executable} -c \"import time; held = bytearray({64 << 20}); time.sleep(30)\""
    proxy = f"PMI_RANK=0 sleep 30 & PMI_RANK=1 {rank} & wait"
    launcher = subprocess.Popen(["/bin/sh", "-c", f"/bin/sh -c '{proxy}'; true"], start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = {number: resident.memory_of(process) for process, number in resident.ranks_below(launcher.pid).items()}
            if found.keys() == {0, 1} and found[1].get("anonymous", 0) > 64 << 20:
                break
            time.sleep(0.1)
        assert found[1]["peak"] >= found[1]["anonymous"] > 64 << 20 > found[0]["peak"]
    finally:
        os.killpg(launcher.pid, 9)
        launcher.wait()
