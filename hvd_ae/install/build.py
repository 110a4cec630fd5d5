"""Compiling Horovod's wheel, and putting it into this environment."""

import os
import sys
import tempfile
from pathlib import Path

from hvd_ae.install import nccl, needs
from hvd_ae.install.edits import Edit
from hvd_ae.install.mpi import Mpi
from hvd_ae.install.sources import fetch, unpack
from hvd_ae.install.steps import StepFailed, run_step, say

# Gloo is left out: a second communication library, compiled twice for TensorFlow's C++17, that only adds
# training without MPI. horovodrun uses MPI by default and does not miss it.
FRAMEWORKS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_MPI": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITHOUT_GLOO": "1",
}


def build_wheel(mpi: Mpi, gpu: bool, changes: tuple[Edit, ...], cache: Path, target: Path) -> Path:
    """Build Horovod for this TensorFlow and this MPI and keep the wheel in the folder `target`.

    Raises:
        Refused: a compiler or a package is missing.
        StepFailed: the sources could not be had, or did not compile.
    """
    needs.compiler()
    needs.packages()
    cmake = needs.cmake()
    cuda = needs.cuda() if gpu else None
    archive = fetch(cache / "sources", cache / "logs" / "fetch.log")
    with tempfile.TemporaryDirectory(prefix="hvd_ae-horovod-") as folder:
        source = unpack(archive, Path(folder), changes)
        log = cache / "logs" / "build.log"
        say(f"compiling, 1 to 4 minutes on two cores; the result is kept for the next time; output: {log}")
        command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-build-isolation"]
        command += ["--no-cache-dir", "--wheel-dir", folder, str(source)]
        run_step("Horovod did not compile", command, log, environment(mpi, cuda, cmake, Path(folder)))
        built = sorted(Path(folder).glob("horovod-*.whl"))
        if len(built) != 1:
            raise StepFailed(f"the build made {len(built)} wheels instead of one; its output is in {log}")
        return _keep(built[0], target)


def _keep(built: Path, target: Path) -> Path:
    """Copy first, rename last: an interrupted copy is never taken for a finished wheel."""
    target.mkdir(parents=True, exist_ok=True)
    partial = target / f".{os.getpid()}.partial"
    partial.write_bytes(built.read_bytes())
    return partial.rename(target / built.name)


def environment(mpi: Mpi, cuda: Path | None, cmake: Path, folder: Path) -> dict[str, str]:
    """The variables of the build: this process's own, less those that would quietly change what is built.

    Args:
        cuda: the CUDA toolkit's folder, to build for GPUs.
        folder: for what only the build needs.
    """
    search_path = mpi.search_path
    ours = {name: value for name, value in os.environ.items() if not name.startswith("HOROVOD_")}
    if cuda:
        ours |= {name: value for name, value in os.environ.items() if name.startswith("HOROVOD_")}
        ours |= {"HOROVOD_CUDA_HOME": str(cuda), "CUDAToolkit_ROOT": str(cuda), **nccl.environment(folder)}
        search_path += f":{nccl.search_path()}"
    if mpi.vendor == "intelmpi":  # from a wheel, its compiler wrappers do not know where they are
        ours.setdefault("I_MPI_ROOT", str(mpi.home))
    cores = min(len(os.sched_getaffinity(0)), 8)
    return (
        ours
        | FRAMEWORKS
        | {
            "HOROVOD_CMAKE": str(cmake),
            "MPI_HOME": str(mpi.home),
            "HVD_AE_MPICXX": str(mpi.compiler),
            "HVD_AE_RPATH": search_path,
            "MAKEFLAGS": f"-j{cores}",  # instead of those that `make train` hands down for itself
        }
    )


def install_wheel(wheel: Path, cache: Path) -> None:
    """Put the wheel into this environment, in place of any Horovod that is there.

    Raises:
        StepFailed: pip could not.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall"]
    command.append(str(wheel))
    run_step(f"{wheel.name} could not be installed", command, cache / "logs" / "install.log")
