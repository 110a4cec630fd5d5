"""Benchmarks run for real, as small as they get."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.link import two_hosts
from tests.launch import run, succeeded

ROOT = Path(__file__).parents[3]


@pytest.mark.soak
def test_allreduce_on_two_ranks(tmp_path):
    succeeded(run([sys.executable, "-m", "benchmarks", "allreduce", "--largest", "4096", "--rounds", "2", "--results",
                   str(tmp_path)], cwd=ROOT))
    rows = [json.loads(line) for line in (tmp_path / "allreduce.jsonl").read_text().splitlines()]
    assert {row["bytes"] for row in rows} == {4, 16, 64, 256, 1024, 4096}
    assert {"mpi", "MPI", "copy"} <= {row["contestant"] for row in rows}
    for row in rows:
        assert row["ranks"] == 2 and len(row["values"]) == 2 and row["low"] <= row["median"] <= row["high"]
        assert row["wrong"] == (None if row["contestant"] == "copy" else 0)
        assert row["algorithm_gb_s"] == pytest.approx(row["bytes"] / row["median"] / 1e9)
    assert len({row["run"] for row in rows}) == 1


def test_flags_that_cannot_be_read_are_refused_in_a_sentence():
    ended = run([sys.executable, "-m", "benchmarks", "plan", "--rond", "3"], cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "benchmarks: '--rond' is no flag of python -m benchmarks plan: did you mean --rounds?\n"


def test_an_unknown_benchmark_is_refused():
    ended = run([sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT)
    assert ended.returncode == 2
    assert "'speed' is not known: use one of allreduce" in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and iproute2")
def test_the_hosts_are_taken_down_however_it_ends(tmp_path):
    with pytest.raises(KeyError), two_hosts(tmp_path) as link:
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert all(host in listed for host in link.hosts)
        link.hold(100_000_000)
        raise KeyError
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(host in listed for host in link.hosts)
    assert not any((Path("/etc/netns") / host).exists() for host in link.hosts)
