"""`hvd-ae install-horovod`, from top to bottom."""

import time
from pathlib import Path

from hvd_ae.install import needs
from hvd_ae.install.build import build_wheel, install_wheel
from hvd_ae.install.cache import cache_folder, cached_wheel, wheel_folder
from hvd_ae.install.check import check
from hvd_ae.install.edits import edits
from hvd_ae.install.mpi import find_mpi
from hvd_ae.install.sources import HOROVOD_VERSION
from hvd_ae.install.steps import say


def install_horovod(gpu: bool = False, mpi_home: str | None = None, cache: Path | None = None) -> None:
    """Build Horovod for this TensorFlow and this MPI, or take the wheel of an earlier build; then check it.

    Args:
        gpu: let Horovod use NCCL on NVIDIA GPUs (`HOROVOD_GPU_OPERATIONS=NCCL`).
        mpi_home: another MPI than that of the mpirun on the PATH, as `find_mpi` takes it.
        cache: folder for wheels, sources and logs; by default as `cache_folder` finds it.

    Raises:
        Refused: something that only the user can provide is missing.
        StepFailed: fetching, compiling, installing or the two-rank check went wrong.
    """
    start = time.monotonic()
    tensorflow = needs.tensorflow()
    mpi = find_mpi(mpi_home)
    cache = cache_folder(cache)
    changes = edits(None if mpi.embedded else mpi.mpirun, gpu)
    folder = wheel_folder(cache, tensorflow, mpi, gpu, changes)
    say(f"Horovod {HOROVOD_VERSION} for {tensorflow} and {mpi}, started by {mpi.mpirun}{', with NCCL' if gpu else ''}")
    wheel = cached_wheel(folder)
    if wheel:
        needs.packages()
        say(f"found the wheel of an earlier build: {wheel}")
    else:
        wheel = build_wheel(mpi, gpu, changes, cache, folder)
    install_wheel(wheel, cache)
    check(mpi)
    say(f"done in {time.monotonic() - start:.0f} s")
