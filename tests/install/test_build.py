"""What the build is told, and what happens when a step or a need fails."""

import re
import sys
import tarfile
from pathlib import Path

import pytest

from hvd_ae.errors import Refused
from hvd_ae.install import build, errors, needs, sources, steps
from hvd_ae.install.mpi import Mpi

MPI = Mpi(
    Path("/opt/mpi/bin/mpicxx"),
    Path("/opt/mpi/bin/mpirun"),
    Path("/opt/mpi/lib/libmpi.so"),
    "mpich",
    "5",
    False,
)


def test_the_builds_variables_name_this_mpi_and_nothing_from_the_users_shell(monkeypatch):
    monkeypatch.setenv("HOROVOD_WITH_GLOO", "1")
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "MPI")
    monkeypatch.setenv("MAKEFLAGS", " -- RANKS=3")
    found = build.environment(MPI, None, Path("/usr/bin/cmake"), Path("/nowhere"))
    assert "HOROVOD_WITH_GLOO" not in found
    assert "HOROVOD_GPU_OPERATIONS" not in found
    assert found["HOROVOD_WITHOUT_GLOO"] == found["HOROVOD_WITH_TENSORFLOW"] == found["HOROVOD_WITH_MPI"] == "1"
    assert found["MPI_HOME"] == "/opt/mpi"
    assert found["HVD_AE_MPICXX"] == "/opt/mpi/bin/mpicxx"
    assert found["HVD_AE_RPATH"] == "/opt/mpi/lib"
    assert found["MAKEFLAGS"].startswith("-j")


def test_gpu_builds_with_nccl_and_keeps_the_users_cuda(monkeypatch):
    monkeypatch.setenv("HOROVOD_NCCL_HOME", "/opt/nccl")
    found = build.environment(MPI, Path("/opt/cuda"), Path("/usr/bin/cmake"), Path("/nowhere"))
    assert found["HOROVOD_CUDA_HOME"] == found["CUDAToolkit_ROOT"] == "/opt/cuda"
    assert found["HOROVOD_GPU_OPERATIONS"] == "NCCL"
    assert found["HOROVOD_NCCL_HOME"] == "/opt/nccl"


def test_a_failed_step_shows_the_end_of_its_output_the_log_and_one_sentence(tmp_path, capsys):
    program = "[print('line', number) for number in range(100)]; raise SystemExit(7)"
    with pytest.raises(steps.StepFailed) as failure:
        steps.run_step("it did not work", [sys.executable, "-c", program], tmp_path / "logs" / "a.log")
    assert str(failure.value) == f"it did not work: exit status 7; the whole output is in {tmp_path}/logs/a.log"
    shown = capsys.readouterr().err.split("\n")
    assert "line 99" in shown
    assert "line 50" not in shown


def test_a_compilers_message_far_above_the_end_is_shown(tmp_path):
    log = tmp_path / "log"
    message = "mpi_ops.cc:12:10: fatal error: tensorflow/core/x.h: No such file or directory"
    log.write_text("\n".join(["Building mpi_ops_error.o", message, *["noise"] * 200, "exit status 1"]))
    shown = steps.last_lines(log).splitlines()
    assert shown[:2] == [message, "..."]
    assert shown[-1] == "exit status 1"
    assert len(shown) == 2 + steps.LAST_LINES


NOTHING_COMPILES = """
-- Could NOT find MPI_CXX (missing: MPI_CXX_WORKS)
CMake Error at /usr/share/cmake/FindPackageHandleStandardArgs.cmake:230 (message):
  Could NOT find MPI (missing: MPI_CXX_FOUND)

-- Configuring incomplete, errors occurred!
"""


@pytest.mark.parametrize(("output", "sentence"), [
    (NOTHING_COMPILES, r"CMake Error at .*230 \(message\): Could NOT find MPI \(missing: MPI_CXX_FOUND\) \(.*--mpi-home"),
    ("x\na.cc:3:9: fatal error: tensorflow/core/x.h: No such file\nb.cc:1: error: y", "^a.cc:3:9: fatal error: "
     "tensorflow/core/x.h: No such file \\(.*take one of 2.18"),
    ("ImportError: no numpy\nerror: subprocess failed", "^ImportError: no numpy$"),
    ("nothing that looks like one", "^$")])
def test_the_first_error_and_its_remedy_are_in_the_sentence(output, sentence):
    assert re.search(sentence, errors.why_failed(output)), errors.why_failed(output)


def test_a_step_names_the_first_error(tmp_path):
    program = "print('a.cc:1: error: no x'); print('b.cc:1: error: no y'); raise SystemExit(1)"
    with pytest.raises(steps.StepFailed, match=r"^it did not work: a\.cc:1: error: no x; the whole output is in "):
        steps.run_step("it did not work", [sys.executable, "-c", program], tmp_path / "a.log")


def test_a_command_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(steps.StepFailed, match="^it did not work: cannot start /nowhere/x: No such file"):
        steps.run_step("it did not work", ["/nowhere/x"], tmp_path / "a.log")


def test_a_step_failure_is_a_fault_without_a_traceback():
    assert issubclass(steps.StepFailed, SystemExit)
    assert not isinstance(steps.StepFailed("text").code, int)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (needs.compiler, r"no C\+\+ compiler"),
        (needs.cmake, "cmake is missing"),
        (needs.cuda, "--gpu needs nvcc"),
    ],
)
def test_a_missing_tool_is_one_sentence(monkeypatch, check, sentence):
    monkeypatch.setattr(needs.shutil, "which", lambda name, path=None: None)
    with pytest.raises(Refused, match=sentence):
        check()


def test_make_is_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(needs.shutil, "which", lambda name, path=None: None if name == "make" else "/usr/bin/" + name)
    with pytest.raises(Refused, match="make is missing"):
        needs.compiler()


@pytest.mark.parametrize("version", ["3.12.4", "4.0.1", "12.0"])
def test_a_cmake_out_of_range_is_refused(monkeypatch, tmp_path, version):
    cmake = tmp_path / "cmake"
    cmake.write_text(f"#!/bin/sh\necho cmake version {version}\n")
    cmake.chmod(0o755)
    monkeypatch.setattr(needs.shutil, "which", lambda name, path=None: str(cmake))
    with pytest.raises(Refused, match="Horovod needs 3.13 or newer and below 4"):
        needs.cmake()


def test_missing_packages_are_all_named(monkeypatch):
    versions = {"setuptools": "79.0.1", "pip": "26", "wheel": "", "cffi": ""}
    monkeypatch.setattr(needs, "_version", lambda name: versions.get(name, "1"))
    with pytest.raises(Refused, match="cffi, wheel"):
        needs.packages()
    versions |= {"wheel": "1", "cffi": "1"}
    needs.packages()
    versions["setuptools"] = "80.9.0"
    with pytest.raises(Refused, match="setuptools 80.9.0 is too new"):
        needs.packages()


def test_no_tensorflow_is_one_sentence(monkeypatch):
    def absent(name):
        raise needs.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(needs.importlib.metadata, "version", absent)
    with pytest.raises(Refused, match="TensorFlow is not installed in"):
        needs.tensorflow()


def test_an_archive_that_is_not_the_released_one_is_thrown_away(tmp_path):
    (tmp_path / sources.ARCHIVE).write_bytes(b"something else")
    with pytest.raises(steps.StepFailed, match=f"instead of {sources.SHA256}"):
        sources.fetch(tmp_path, tmp_path / "log")
    assert not (tmp_path / sources.ARCHIVE).exists()


def test_sources_are_unpacked_afresh_and_edited(tmp_path):
    inside = tmp_path / f"horovod-{sources.HOROVOD_VERSION}"
    inside.mkdir()
    (inside / "a.txt").write_text("two")
    archive = tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(inside, arcname=inside.name)
    source = sources.unpack(archive, tmp_path / "fresh", (sources.Edit("a.txt", "two", "2"),))
    assert (source / "a.txt").read_text() == "2"
