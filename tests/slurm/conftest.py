"""One cluster for all tests of this folder, where it can be brought up; in CI it must be."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.slurm.slurm import start_cluster, stop_cluster


def what_is_missing() -> str | None:
    if os.geteuid() != 0:
        return "a Slurm of their own needs root, for daemons and host names; run them as root to include them"
    if shutil.which("apt-get") is None:
        return "Slurm is installed with apt-get, which is not here; run them on Debian or Ubuntu to include them"
    return None


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A running Slurm with three nodes: node0, node1, node2."""
    missing = what_is_missing()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"The Slurm tests are left out: {missing}.")
    assert missing is None, f"In CI the Slurm tests must run, but {missing}"
    cluster, keeper = start_cluster(tmp_path_factory.mktemp("slurm"))
    yield cluster
    stop_cluster(keeper)


@pytest.fixture
def stand_in(tmp_path) -> dict[str, str]:
    """Environment for a job in which `hvd-ae` is the stand-in."""
    programs = tmp_path / "environment" / "bin"
    programs.mkdir(parents=True)
    command = programs / "hvd-ae"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__).with_name("stand_in.py")} "$@"\n')
    command.chmod(0o755)
    (programs / "activate").write_text(f'export PATH={programs}:{Path(sys.executable).parent}:"$PATH"\n')
    return {"HVD_AE_VENV": str(programs.parent), "STAND_IN_DOES": "end"}
