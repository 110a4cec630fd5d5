"""The wheel and the source archive: what is in them, and that they install where there is no compiler."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.environments import bring
from tests.launch import run, succeeded

ROOT = Path(__file__).parents[2]
BUILDS = "import sys; from setuptools import build_meta; to = sys.argv[1]; " \
         "build_meta.build_wheel(to); build_meta.build_sdist(to)"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A wheel and a source archive, of a copy, since a build leaves folders behind."""
    folder = tmp_path_factory.mktemp("distributions")
    for name in tracked():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "tree" / name)
    succeeded(run([sys.executable, "-W", "ignore", "-c", BUILDS, str(folder)], cwd=folder / "tree"))
    [wheel], [archive] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def tracked() -> list[str]:
    """The project's files, as Git has them; new ones too, but none that it ignores."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
                            text=True, check=True, timeout=60).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
    assert {name for name in names if ".dist-info/" not in name} == {
        name for name in tracked() if name.startswith("hvd_ae/")}
    assert any(name.endswith("LICENSE") for name in names) and any(name.endswith("entry_points.txt") for name in names)


def test_the_archive_holds_what_it_is_built_from_and_the_job_scripts(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked() if name.startswith(("hvd_ae/", "jobs/", "docs/", "examples/", "requirements/"))}
    assert not (wanted | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml", "Makefile"}) - names


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", [0, 1], ids=["wheel", "sdist"])
def test_it_installs_and_trains_without_a_compiler(built, tmp_path, which):
    environment = tmp_path / "env"
    succeeded(run([sys.executable, "-m", "venv", str(environment)]))
    succeeded(run([str(environment / "bin" / "pip"), "uninstall", "--yes", "setuptools"]))  # an old one, of Python's own
    bring("hvd_ae[mpi,horovod]", environment)  # of Horovod only what it is built with
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "env", "dirname", "uname", "hostname"):
        (tools / name).symlink_to(shutil.which(name))
    alone = {"PATH": f"{environment}/bin:{tools}", "PIP_NO_INDEX": "1", "PYTHONPATH": "", "CXX": ""}
    succeeded(run([str(environment / "bin" / "pip"), "install", "--no-build-isolation", str(built[which])], **alone))
    training = ["hvd-ae", "train", "--model", "shallow", "--epochs", "1", "--run-dir"]
    succeeded(run(["hvd-ae", *training[1:], "alone"], cwd=tmp_path, **alone))
    succeeded(run(["mpirun", "-np", "2", *training, "on-ranks"], cwd=tmp_path, **alone))
    refused = run(["hvd-ae", "install-horovod"], cwd=tmp_path, HVD_AE_CACHE=str(tmp_path / "cache"), **alone)
    assert refused.returncode == 2 and "no C++ compiler" in refused.stderr, refused.stderr + os.linesep + refused.stdout
