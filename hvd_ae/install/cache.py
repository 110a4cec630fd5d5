"""Where the built wheel is kept, and under which name it is found again."""

import hashlib
import os
import sys
import sysconfig
from pathlib import Path

from hvd_ae.errors import Refused
from hvd_ae.install.edits import Edit, digest
from hvd_ae.install.mpi import Mpi
from hvd_ae.install.sources import HOROVOD_VERSION


def cache_folder(given: Path | None = None) -> Path:
    """The folder for wheels, sources and logs.

    It is `given`, else $HVD_AE_CACHE, else $XDG_CACHE_HOME/hvd_ae, else ~/.cache/hvd_ae.

    Raises:
        Refused: it cannot be made or written to.
    """
    said = os.environ.get("HVD_AE_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(given or said or Path(user) / "hvd_ae").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"the cache folder {folder} cannot be made ({error.strerror}): "
            "name one that can be written to in HVD_AE_CACHE"
        ) from None
    if not os.access(folder, os.W_OK):
        raise Refused(f"the cache folder {folder} cannot be written to: name another in HVD_AE_CACHE")
    return folder


def wheel_folder(cache: Path, tensorflow: str, mpi: Mpi, gpu: bool, changes: tuple[Edit, ...]) -> Path:
    """The folder of the wheel built for these versions: every one of them is in its name.

    A site's MPI is known by its library's path; the embedded one by its place relative to Horovod, which is
    the same in every environment.
    """
    place = hashlib.sha256(mpi.search_path.encode()).hexdigest()[:8]
    name = [
        f"horovod-{HOROVOD_VERSION}-{digest(changes)}",
        tensorflow,
        f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}",
        f"{mpi.vendor}-{mpi.version}-{'embedded' if mpi.embedded else 'site'}-{place}",
        "nccl" if gpu else "cpu",
    ]
    return cache / "wheels" / "_".join(name)


def cached_wheel(folder: Path) -> Path | None:
    """The finished wheel in this folder, if there is one."""
    return next(iter(sorted(folder.glob("horovod-*.whl"))), None)
