"""The Horovod that set-up built, as a user starts it: from any folder, nothing activated, an empty home."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvd_ae.install.check import answers
from tests.launch import BIN, run, succeeded

HOROVODRUN = [str(BIN / "horovodrun"), "-np", "2"]
PROBE = "from hvd_ae.install.probe import main; main()"
EXIT = "import sys; from mpi4py import MPI; MPI.COMM_WORLD.Barrier(); sys.exit({})"


@pytest.fixture
def bare(tmp_path) -> dict[str, str]:
    """The variables of a shell in which nobody activated the environment, with an empty home folder."""
    return {"PATH": os.defpath, "HOME": str(tmp_path), "LD_LIBRARY_PATH": "", "PYTHONPATH": ""}


@pytest.mark.parametrize("launcher", [
    pytest.param([str(BIN / "mpirun"), "-np", "2"], marks=pytest.mark.soak), HOROVODRUN], ids=["mpirun", "horovodrun"])
def test_two_ranks_meet_through_the_mpi_of_this_environment(launcher, bare, tmp_path):
    found = answers(succeeded(run([*launcher, sys.executable, "-c", PROBE], cwd=tmp_path, **bare)))
    assert sorted((answer["rank"], answer["size"], answer["sum"]) for answer in found) == [(0, 2, 3.0), (1, 2, 3.0)]
    for answer in found:
        assert answer["horovod"] == answer["mpi4py"]
        assert [Path(file).parent for file in answer["horovod"]] == [Path(sys.prefix) / "lib"]


def test_horovodrun_finds_the_environments_programs_and_passes_variables_and_arguments(bare):
    # one write per line, because the two ranks' writes may come out in any order
    program = "import os, sys; os.write(1, f'found {sys.prefix} {os.environ[\"SAID\"]} {sys.argv[1:]}\\n'.encode())"
    shown = succeeded(run([*HOROVODRUN, "python", "-c", program, "a b", "$c"], SAID="x *y", **bare))
    assert shown.count(f"found {sys.prefix} x *y ['a b', '$c']") == 2


@pytest.mark.parametrize("status", [0, 2, 3, 75])
def test_horovodrun_ends_with_the_ranks_exit_status(status, bare):
    assert run([*HOROVODRUN, "python", "-c", EXIT.format(status)], **bare).returncode == status


def test_a_signal_to_horovodrun_reaches_every_rank(bare, tmp_path):
    program = tmp_path / "waits.py"
    program.write_text(
        "import signal, sys, time\n"
        "from mpi4py import MPI\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "MPI.COMM_WORLD.Barrier(); print('ready', flush=True); time.sleep(60)\n"
    )
    launched = subprocess.Popen(
        [*HOROVODRUN, "python", str(program)], stdout=subprocess.PIPE, text=True, env={**os.environ, **bare}
    )
    try:
        assert "ready" in launched.stdout.readline()
        time.sleep(0.5)
        launched.send_signal(signal.SIGTERM)
        launched.communicate(timeout=30)
        assert launched.returncode == 75
    finally:
        launched.kill()
