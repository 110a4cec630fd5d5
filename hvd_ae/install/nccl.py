"""Where the build finds NCCL, and the built library finds it again: a site's own, or the wheel `nvidia-nccl-cu12`."""

import importlib.util
import os
import sysconfig
from pathlib import Path

from hvd_ae.errors import Refused

# Volta and older are gone from nvcc 13; what is newer than the last runs its PTX.
_COMPUTE_CAPABILITIES = "75,80,86,89,90"


def environment(folder: Path) -> dict[str, str]:
    """Variables of the build, for NCCL from the wheel; none where HOROVOD_NCCL_HOME or _INCLUDE names another.

    Args:
        folder: for the link that the wheel lacks.

    Raises:
        Refused: there is no NCCL.
    """
    common = {"HOROVOD_GPU_OPERATIONS": "NCCL",
              "HOROVOD_BUILD_CUDA_CC_LIST": os.environ.get("HOROVOD_BUILD_CUDA_CC_LIST", _COMPUTE_CAPABILITIES)}
    if "HOROVOD_NCCL_HOME" in os.environ or "HOROVOD_NCCL_INCLUDE" in os.environ:
        return common
    home = _wheel()
    link = folder / "nccl"
    link.mkdir(exist_ok=True)
    (link / "libnccl.so").symlink_to(home / "lib" / "libnccl.so.2")
    return {**common, "HOROVOD_NCCL_INCLUDE": str(home / "include"), "HOROVOD_NCCL_LIB": str(link),
            "HOROVOD_NCCL_LINK": "SHARED"}


def search_path() -> str:
    """From the Horovod library to the wheel's (an RPATH)."""
    packages = Path(sysconfig.get_path("platlib"))
    return "$ORIGIN/" + os.path.relpath(packages / "nvidia" / "nccl" / "lib", packages / "horovod" / "tensorflow")


def _wheel() -> Path:
    found = importlib.util.find_spec("nvidia.nccl") if importlib.util.find_spec("nvidia") else None
    if found is None:
        raise Refused("--gpu needs NCCL: `pip install nvidia-nccl-cu12`, or name a site's own in HOROVOD_NCCL_HOME")
    return Path(next(iter(found.submodule_search_locations)))
