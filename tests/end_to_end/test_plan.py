"""A plan on real ranks, and a run beside it."""

import json

from tests.launch import HVD_AE, mpirun, run, succeeded


def test_two_ranks_measure_and_a_run_is_compared(tmp_path):
    folder = tmp_path / "plan"
    said = succeeded(mpirun(2, HVD_AE, "plan", "--data", "synthetic:4000x64", "--model", "shallow", "--output", str(folder)))
    assert "parameter H=16" in said and "10,000 ranks: " in said
    measured = json.loads((folder / "plan-measured.json").read_text())
    assert measured["parameters"] == 4192 and measured["ranks"] == 2 and measured["samples"] == 3600
    assert measured["update_seconds"] > 0 and measured["step_seconds"] > 0
    sums = measured["sums"]["inside"]
    assert all(point["seconds"] > 0 for point in sums) and sums[-1]["bytes"] == 1 << 20
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")

    succeeded(mpirun(2, HVD_AE, "train", "--data", "synthetic:4000x64", "--model", "shallow", "--epochs", "3", "--run-dir",
                     str(tmp_path / "run")))
    said = succeeded(run([HVD_AE, "plan", "--measured", str(folder / "plan-measured.json"), "--run", str(tmp_path / "run")]))
    assert said.startswith("gradient on 2 ranks: predicted ") and "achieved" in said


def test_alone_it_needs_a_link(tmp_path):
    command = [HVD_AE, "plan", "--data", "synthetic:4000x64", "--model", "shallow", "--output", str(tmp_path / "plan")]
    ended = run(command)
    assert ended.returncode == 2 and ended.stderr.count("hvd-ae:") == 1 and "mpirun -np 2" in ended.stderr
    assert "10,000 ranks" in succeeded(run([*command, "--link-latency", "2e-6", "--link-bandwidth", "12.5e9"]))
