"""The report, from rows alone."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.allreduce import DEEP
from tests.unit.benchmarks import made_up

ROOT = Path(__file__).parents[3]
ROWS = {
    "peers": made_up.peers(gradient=130.0, sharded=120.0, parameter=140.0, none=141.0, torch=100.0, ddp=None),
    "step": made_up.step(gradient=0.012, passes=0.009, reduce=0.001, update=0.001, bare=0.001, product=0.02, copy=0.01),
    "allreduce": made_up.allreduce(4, horovod=1e-5, MPI=1e-6) + made_up.allreduce(DEEP, horovod=2e-3, mpi=1e-3, MPI=1e-3),
    "scaling": made_up.scaling("gradient", one=100.0, two=190.0),
    "network": [made_up.network(link, strategy, rate) for link in ("unlimited", "100 Mbit/s") for strategy, rate in
                (("MPI_Allreduce", 0.4), ("gradient", 100.0), ("parameter H=64", None))],
    "startup": made_up.startup(help=0.3, alone=2.0),
    "memory": [made_up.memory(how, 1, peak, 90.0) for how, peak in
               (("little", 1e9), ("memory-mapped", 1.2e9), ("in memory", 5e9))],
    "input": [made_up.input_row("windows", 90.0, "hdf5", 2, decoded=1.0), made_up.input_row("in order", 100.0, "hdf5", 2),
              made_up.input_row("random", 2.0, what="PyTorch, random samples"),
              made_up.input_row("memory", what="memory, much data", peak=2e9, reason=None)],
    "p1b1": [made_up.p1b1("gradient", "horovod", 5.5), made_up.p1b1("gradient", "mpi", 6.5),
             made_up.p1b1("sharded", "mpi", None)],
    "plan": [made_up.plan("2 ranks", "gradient", 100.0, 105.0), made_up.plan("100 Mbit/s", "gradient", 50.0, 40.0, 45.0),
             made_up.plan("100 Mbit/s", "none", None, None)],
}
REPORTS = """
import sys
from benchmarks.__main__ import main
sys.argv = ["benchmarks", "report", "--results", sys.argv[1]]
status = main()
heavy = {"tensorflow", "keras", "mpi4py", "horovod", "torch"} & sys.modules.keys()
sys.exit(f"imported {heavy}" if heavy else status)
"""


def report(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", REPORTS, str(folder)], capture_output=True, text=True, cwd=ROOT, timeout=120,
                          check=False)


def test_tables_pictures_and_a_page_from_rows_alone(tmp_path):
    for name, rows in ROWS.items():
        runs = made_up.thrice(rows) if name == "peers" else rows
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in runs))
    ended = report(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "over the best peer, samples/s | 1.3, 1.3, 1.3 | at least 1.25 | met | 2026-01-02 07:04, short |  |" in ended.stdout
    assert "peak resident size in vectors, `gradient` | 5.5 | at most 6 | not yet thrice |" in ended.stdout
    assert "not measured" in ended.stdout and "missed" in ended.stdout
    markdown, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    assert "torch is not installed" in markdown  # what is missing says why, and is no 0
    assert "| 100 Mbit/s | gradient | 50 | 45 to 55 | 40 | -20% | 45 | -10% |" in markdown
    assert "| windows, hdf5, 2 ranks | 90 | 81 to 99 | 1.000 |  |  |" in markdown
    assert "| memory, much data |  |  |  |  | 2,000 |" in markdown
    assert "commit abc1234, 2 cores of a CPU" in markdown
    for name in ROWS:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"![{name}]({name}.png)" in markdown
    assert page.count("src='data:image/png;base64,") == len(ROWS)
    assert "http" not in page and "<script" not in page  # one file that needs no other


def test_without_rows_there_is_a_way_out(tmp_path):
    ended = report(tmp_path)
    assert ended.returncode == 1
    assert "run `make bench`" in ended.stdout
