"""Runs the README's two commands, and those that install it; the other commands of its table are those of docs/."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.end_to_end.environments import bring
from tests.end_to_end.pages import ROOT, commands, shell, summary
from tests.launch import ENVIRONMENT, run, succeeded


@pytest.mark.timeout(600)
def test_the_first_command(tmp_path):
    assert commands("hvd_ae") == ["make train", "make test"]  # which runs this
    shell(f"make train ARGS={shlex.quote(f'--epochs 2 --run-dir {tmp_path}/run')}", ROOT)
    assert summary(tmp_path / "run")["collectives"] == "horovod"
    assert summary(tmp_path / "run")["ranks"] == 2
    for picture in ("loss.png", "reconstructions.png", "latent.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_into_an_environment_of_your_own(tmp_path, monkeypatch):
    """In a new environment with what setup.cfg asks for and no more, in the versions of the one that runs the tests."""
    environment = tmp_path / "env"
    succeeded(run([sys.executable, "-m", "venv", str(environment)]))
    succeeded(run([str(environment / "bin" / "pip"), "uninstall", "--yes", "setuptools"]))  # an old one, of Python's own
    monkeypatch.setitem(ENVIRONMENT, "PIP_NO_INDEX", "1")  # whatever is not there ends the test
    monkeypatch.setitem(ENVIRONMENT, "PIP_NO_BUILD_ISOLATION", "0")  # pip reads it as the value of --build-isolation
    bring("hvd_ae", environment)
    install_and_train(tmp_path, extras=lambda: bring("hvd_ae[mpi,horovod]", environment))


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_into_an_environment_of_your_own_with_the_versions_of_today(tmp_path):
    """The newest versions that setup.cfg allows, as users get them: gigabytes are downloaded and unpacked."""
    succeeded(run([sys.executable, "-m", "venv", str(tmp_path / "env")]))
    install_and_train(tmp_path)


def install_and_train(tmp_path: Path, extras=lambda: None) -> None:
    """The commands of docs/install.md; what is missing on the way is said in a sentence."""
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

    extras()
    install, build = commands("Into an environment of your own")
    shell(install, ROOT, timeout=1200, path=bin_path)
    assert trained_by("mpirun -np 2 hvd-ae train", "mpi") == "mpi"
    assert "needs horovod, which is not installed: `hvd-ae install-horovod`" in refused("hvd-ae train --collectives horovod")

    shell(build, ROOT, timeout=1200, path=bin_path)  # the wheel built before is found again
    assert trained_by("mpirun -np 2 hvd-ae train", "horovod") == "horovod"
