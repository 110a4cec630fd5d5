"""Runs the README's two commands, and those that install it; the other commands of its table are those of docs/."""

import os
import shlex
import sys

import pytest

from tests.end_to_end.pages import ROOT, commands, shell, summary
from tests.launch import run, succeeded


@pytest.mark.timeout(600)
def test_the_first_command(tmp_path):
    assert commands("hvd_ae") == ["make train", "make test"]  # which runs this
    shell(f"make train ARGS={shlex.quote(f'--epochs 2 --run-dir {tmp_path}/run')}", ROOT)
    assert summary(tmp_path / "run")["collectives"] == "horovod"
    assert summary(tmp_path / "run")["ranks"] == 2
    for picture in ("loss.png", "reconstructions.png", "latent.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(1500)
def test_into_an_environment_of_your_own(tmp_path):
    """The ranges of versions that users get, in a new environment; what is missing on the way is said in a sentence."""
    succeeded(run([sys.executable, "-m", "venv", str(tmp_path / "env")]))
    bin_path = str(tmp_path / "env" / "bin")

    def trained_by(command: str, name: str) -> str:
        shell(f"{command} --model shallow --epochs 1 --run-dir {name}", tmp_path, path=bin_path)
        return summary(tmp_path / name)["collectives"]

    def refused(command: str) -> str:
        ended = run(["bash", "-uc", command], cwd=tmp_path, PATH=f"{bin_path}{os.pathsep}{os.environ['PATH']}")
        assert ended.returncode == 2 and "Traceback" not in ended.stderr
        return ended.stderr

    shell("pip install .", ROOT, timeout=1200, path=bin_path)
    assert trained_by("hvd-ae train", "alone") == "single"
    assert "collectives='mpi' needs mpi4py, which is not installed: pip install" in refused("hvd-ae train --collectives mpi")

    install, build = commands("Into an environment of your own")
    shell(install, ROOT, timeout=1200, path=bin_path)
    assert trained_by("mpirun -np 2 hvd-ae train", "mpi") == "mpi"
    assert "needs horovod, which is not installed: `hvd-ae install-horovod`" in refused("hvd-ae train --collectives horovod")

    shell(build, ROOT, timeout=1200, path=bin_path)  # the wheel built before is found again
    assert trained_by("mpirun -np 2 hvd-ae train", "horovod") == "horovod"
