"""What the build needs, looked for before anything is fetched, each refused in one sentence."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hvd_ae.errors import Refused

# What Horovod imports at run time and what its set-up script needs; `hvd_ae[horovod]` names the same.
PACKAGES = ("cloudpickle", "psutil", "pyyaml", "packaging", "cffi", "wheel", "setuptools", "pip")
CMAKE_RANGE = ((3, 13), (4, 0))  # Horovod asks for 3.13; CMake 4 refuses its old policies


def tensorflow() -> str:
    """The installed TensorFlow, as `name-version`.

    Raises:
        Refused: there is none.
    """
    for name in ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-aarch64"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if importlib.util.find_spec("tensorflow"):
            return f"{name}-{version}"
    raise Refused(
        f"TensorFlow is not installed in {sys.prefix}: `pip install tensorflow` first, "
        "because Horovod is compiled against it"
    )


def packages() -> None:
    """Refuse when a Python package that the build or Horovod needs is missing, or setuptools is too new.

    Raises:
        Refused: names what is missing.
    """
    missing = [name for name in PACKAGES if not _version(name)]
    if missing:
        raise Refused(f"Horovod needs {', '.join(missing)}: `pip install {' '.join(missing)}` first")
    setuptools = _version("setuptools")
    if int(setuptools.split(".")[0]) >= 80:
        raise Refused(f"setuptools {setuptools} is too new for Horovod's setup.py: `pip install 'setuptools<80'`")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def cmake() -> Path:
    """The CMake of this environment, or else the one on the PATH.

    Raises:
        Refused: there is none, or its version is out of range.
    """
    found = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if not found:
        raise Refused("cmake is missing: `pip install 'cmake<4'` puts it into this environment")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    version = re.search(r"version (\d+)\.(\d+)", said)
    if not version or not CMAKE_RANGE[0] <= (int(version[1]), int(version[2])) < CMAKE_RANGE[1]:
        is_now = version[0] if version else "no CMake"
        raise Refused(f"{found} is {is_now}, but Horovod needs 3.13 or newer and below 4: `pip install 'cmake<4'`")
    return Path(found)


def compiler() -> None:
    """Refuse when there is no C++ compiler, or no `make`.

    Raises:
        Refused: names what is missing.
    """
    chosen = os.environ.get("CXX", "").split()[:1] or ["c++", "g++"]
    if not any(shutil.which(name) for name in chosen):
        raise Refused(
            f"no C++ compiler ({' or '.join(chosen)}): install one (Debian, Ubuntu: apt install g++), "
            "or name one in CXX"
        )
    if not shutil.which("make"):
        raise Refused("make is missing, and Horovod is built with it (Debian, Ubuntu: apt install make)")


def cuda() -> Path:
    """The folder of the CUDA toolkit: HOROVOD_CUDA_HOME, or that of the nvcc on the PATH.

    Raises:
        Refused: no nvcc.
    """
    given = os.environ.get("HOROVOD_CUDA_HOME")
    nvcc = shutil.which("nvcc", path=str(Path(given) / "bin") if given else None)
    if not nvcc:
        raise Refused("--gpu needs nvcc: put it on the PATH, or the CUDA toolkit's folder in HOROVOD_CUDA_HOME")
    if given:
        return Path(given)
    # nvcc may be a link or a script: it says itself where its toolkit is
    said = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, timeout=60, check=False)
    top = re.search(r"^#\$ TOP=(.*)$", said.stderr, flags=re.M)
    return Path(top[1].strip()).resolve() if top else Path(nvcc).resolve().parent.parent
