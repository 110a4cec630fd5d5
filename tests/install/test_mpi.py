"""Which MPI is taken, and the sentence when there is none."""

import os
import sys
from pathlib import Path

import pytest

from hvd_ae.errors import Refused
from hvd_ae.install import mpi


def make_mpi(home: Path, says: str = "x", files: tuple[str, ...] = ("bin/mpicxx", "bin/mpicc", "bin/mpirun")) -> Path:
    """A folder that looks like an MPI, whose `mpicxx -show` names its own library folder."""
    for name in files:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"#!/bin/sh\necho c++ -L{home}/lib -lmpi\n")
        (home / name).chmod(0o755)
    (home / "lib").mkdir(exist_ok=True)
    (home / "lib" / "libmpi.so").write_text(says)
    return home


@pytest.fixture(autouse=True)
def no_mpi_anywhere(monkeypatch, tmp_path):
    monkeypatch.delenv("MPI_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "no-environment"))


@pytest.fixture
def described(monkeypatch):
    monkeypatch.setattr(mpi, "describe", lambda compiler: compiler)


def test_no_mpi_is_one_sentence_with_the_way_out():
    with pytest.raises(Refused, match="no MPI found, for no mpirun is on the PATH: `pip install mpich`"):
        mpi.find_mpi()


def test_the_order_is_argument_then_variable_then_environment_then_path(monkeypatch, tmp_path, described):
    on_path, own, variable, argument = (make_mpi(tmp_path / name) for name in ("path", "own", "variable", "argument"))
    monkeypatch.setenv("PATH", f"{on_path}/bin")
    assert mpi.find_mpi() == on_path / "bin/mpicxx"
    monkeypatch.setattr(sys, "prefix", str(own))
    assert mpi.find_mpi() == own / "bin/mpicxx"
    monkeypatch.setenv("MPI_HOME", str(variable))
    assert mpi.find_mpi() == variable / "bin/mpicxx"
    assert mpi.find_mpi(str(argument)) == argument / "bin/mpicxx"
    assert mpi.find_mpi("mpicc") == on_path / "bin/mpicxx"


def test_the_mpirun_that_comes_first_on_the_path_decides(monkeypatch, tmp_path, described):
    """The environment's own only where the PATH, as `activate` sets it, has nothing before it."""
    own, module = make_mpi(tmp_path / "own"), make_mpi(tmp_path / "module")
    monkeypatch.setattr(sys, "prefix", str(own))
    monkeypatch.setenv("PATH", f"{own}/bin:{module}/bin")
    assert mpi.find_mpi() == own / "bin/mpicxx"
    monkeypatch.setenv("PATH", f"{module}/bin:{own}/bin")
    assert mpi.find_mpi() == module / "bin/mpicxx"


def test_links_lead_to_the_compiler_of_the_same_mpi(monkeypatch, tmp_path, described):
    """As in Debian, where each name is a choice of its own among the MPIs that are installed."""
    place = tmp_path / "bin"
    make_mpi(tmp_path, files=("bin/mpicxx.mpich", "bin/mpirun.mpich", "bin/mpicxx.openmpi", "bin/orterun"))
    for link, target in (("mpirun.openmpi", "orterun"), ("chosen-mpirun", "mpirun.openmpi"), ("mpirun", "chosen-mpirun"),
                         ("mpicxx", "mpicxx.mpich")):
        (place / link).symlink_to(target)
    monkeypatch.setenv("PATH", str(place))
    assert mpi.find_mpi() == place / "mpicxx.openmpi"


def test_a_launcher_without_its_compiler_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(make_mpi(tmp_path / "run-time", files=("bin/mpirun",)) / "bin"))
    with pytest.raises(Refused, match="run-time/bin/mpirun has no mpicxx beside it: install the development files"):
        mpi.find_mpi()


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_a_folder_without_mpicxx_is_refused_by_name(monkeypatch, tmp_path, by):
    if by == "variable":
        monkeypatch.setenv("MPI_HOME", str(tmp_path))
    named = {"argument": "--mpi-home", "variable": "MPI_HOME"}[by]
    with pytest.raises(Refused, match=rf"{named}={tmp_path} has no bin/mpicxx"):
        mpi.find_mpi(str(tmp_path) if by == "argument" else None)


def test_an_mpi_without_mpirun_is_refused(tmp_path):
    home = make_mpi(tmp_path / "half", files=("bin/mpicxx",))
    with pytest.raises(Refused, match="has no mpirun beside it"):
        mpi.find_mpi(str(home))


def test_a_library_that_is_no_mpi_is_refused(monkeypatch, tmp_path):
    home = make_mpi(tmp_path / "fake", says="not a library")
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(Refused, match=r"libmpi\.so is no MPI that hvd_ae knows"):
        mpi.find_mpi(str(home))


def test_an_mpi_without_its_library_is_refused(monkeypatch, tmp_path):
    home = make_mpi(tmp_path / "bare")
    (home / "lib" / "libmpi.so").unlink()
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(Refused, match="install the MPI's development files"):
        mpi.find_mpi(str(home))


def test_the_one_line_libmpi_of_a_wheel_leads_to_the_real_file(monkeypatch, tmp_path):
    home = make_mpi(tmp_path / "wheel", says="INPUT(libmpi.so.12)\n")
    (home / "lib" / "libmpi.so.12").write_text("")
    monkeypatch.setenv("PATH", os.defpath)
    assert mpi._library(home / "bin/mpicxx") == home / "lib" / "libmpi.so.12"


def test_the_library_is_the_one_that_the_wrapper_names_under_the_name_that_programs_load(monkeypatch, tmp_path):
    """libmpich beside another MPI's libmpi; and a copy where others have a link."""
    home = make_mpi(tmp_path / "debian", says="of another MPI")
    (home / "bin/mpicxx").write_text(f"#!/bin/sh\necho g++ -L{home}/lib -lmpichcxx -lmpich\n")
    monkeypatch.setenv("PATH", os.defpath)
    for name in ("libmpich.so", "libmpich.so.12", "libmpich.so.12.1"):
        (home / "lib" / name).write_text("a library")
    assert mpi._library(home / "bin/mpicxx") == home / "lib" / "libmpich.so.12"


def test_only_the_embedded_mpi_is_looked_for_relative_to_horovod(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/home/me/env")
    monkeypatch.setattr(mpi.sysconfig, "get_path", lambda name: "/home/me/env/lib/python3.11/site-packages")
    common = {"vendor": "mpich", "version": "5"}
    embedded = mpi.Mpi(
        Path("/home/me/env/bin/mpicxx"), Path("/home/me/env/bin/mpirun"),
        Path("/home/me/env/lib/libmpi.so.12"), embedded=True, **common,
    )  # fmt: skip
    site = mpi.Mpi(
        Path("/opt/mpi/bin/mpicxx"), Path("/opt/mpi/bin/mpirun"), Path("/opt/mpi/lib64/libmpi.so"),
        embedded=False, **common,
    )  # fmt: skip
    assert embedded.search_path == "$ORIGIN/../../../.."
    assert site.search_path == "/opt/mpi/lib64"
