"""Which MPI: the one inside this Python environment, or a site's own when the user says so."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.errors import Refused

# Asked in another process: a library that is loaded cannot be unloaded, and a wrong one may crash.
VERSION_PROGRAM = """
import ctypes, sys
text, length = ctypes.create_string_buffer(65536), ctypes.c_int()
ctypes.CDLL(sys.argv[1]).MPI_Get_library_version(text, ctypes.byref(length))
print(text.value.decode(errors="replace"))
"""
VENDORS = (
    (r"Open MPI v?([\d.]+)", "openmpi"),
    (r"Intel\(R\) MPI Library v?([\d.]+)", "intelmpi"),
    (r"MVAPICH2? Version\s*:\s*([\w.]+)", "mvapich"),
    (r"MPICH Version\s*:\s*([\w.]+)", "mpich"),
)


@dataclass(frozen=True)
class Mpi:
    """An installed MPI: compiler wrapper, launcher, library, and whether it lives in this environment."""

    compiler: Path
    mpirun: Path
    library: Path
    vendor: str
    version: str
    embedded: bool

    @property
    def home(self) -> Path:
        return self.compiler.parent.parent

    @property
    def search_path(self) -> str:
        """Where the Horovod library shall look for the MPI library when it is loaded (an RPATH).

        Relative to itself for the embedded MPI, so that one wheel serves every environment of this Python.
        """
        if not self.embedded:
            return str(self.library.parent)
        horovod = Path(sysconfig.get_path("platlib")) / "horovod" / "tensorflow"
        return "$ORIGIN/" + os.path.relpath(Path(sys.prefix) / "lib", horovod)

    def __str__(self) -> str:
        return f"{self.vendor} {self.version} ({'of this environment' if self.embedded else self.home})"


def find_mpi(mpi_home: str | None = None) -> Mpi:
    """The MPI to build for: `mpi_home`, else $MPI_HOME, else this environment's own, else that of the PATH.

    `mpi_home` is the folder that has `bin/mpicxx` in it, or the word `mpicc`: the MPI whose mpicc is on the
    PATH.

    Raises:
        Refused: there is no usable MPI there.
    """
    said = mpi_home or os.environ.get("MPI_HOME") or None
    where = "--mpi-home" if mpi_home else "MPI_HOME"
    if said == "mpicc":
        return _on_path()
    if said is not None:
        folder = Path(said).expanduser().absolute()
        if not (folder / "bin" / "mpicxx").is_file():
            raise Refused(
                f"{where}={said} has no bin/mpicxx: name the folder of an MPI with its compiler wrappers, "
                f"or leave {where} out to use the MPI of this environment"
            )
        return describe(folder / "bin" / "mpicxx")
    if is_embedded(Path(sys.prefix) / "bin" / "mpicxx"):
        return describe(Path(sys.prefix) / "bin" / "mpicxx")
    return _on_path()


def _on_path() -> Mpi:
    # The folder of mpicc decides, as the user said; it may be this environment's own when that comes first.
    mpicc = shutil.which("mpicc")
    mpicxx = mpicc and Path(mpicc).with_name("mpicxx")
    if not mpicxx or not mpicxx.is_file():
        raise Refused(
            "no MPI found: `pip install mpich` puts one into this environment, without root; "
            "or name a site's own with --mpi-home FOLDER (the folder that has bin/mpicxx in it)"
        )
    return describe(mpicxx)


def is_embedded(compiler: Path) -> bool:
    """Whether this MPI came with a wheel or a conda package: wrapper and library below sys.prefix."""
    own = Path(sys.prefix)
    return compiler.parent == own / "bin" and compiler.is_file() and any((own / "lib").glob("libmpi.so*"))


def describe(compiler: Path) -> Mpi:
    """Everything about the MPI that has this `mpicxx`.

    Raises:
        Refused: its launcher or library is missing, or the library does not say what it is.
    """
    mpirun = compiler.with_name("mpirun")
    if not mpirun.is_file():
        raise Refused(f"{compiler} has no mpirun beside it: install the whole MPI, or name another (--mpi-home)")
    library = _library(compiler)
    asked = subprocess.run(
        [sys.executable, "-c", VERSION_PROGRAM, str(library)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for pattern, vendor in VENDORS:
        found = re.search(pattern, asked.stdout)
        if found:
            return Mpi(compiler, mpirun, library, vendor, found[1], is_embedded(compiler))
    said = (asked.stdout or asked.stderr).strip().splitlines()[-1:] or ["nothing"]
    raise Refused(
        f"{library} is no MPI that hvd_ae knows (it says: {said[0][:200]}): "
        f"name another MPI with --mpi-home; known are {', '.join(sorted(v for _, v in VENDORS))}"
    )


def _library(compiler: Path) -> Path:
    """The libmpi that programs compiled with this wrapper are linked to, as the wrapper itself says."""
    shown = subprocess.run([str(compiler), "-show"], capture_output=True, text=True, timeout=60, check=False)
    folders = [Path(folder) for folder in re.findall(r"-L ?(\S+)", shown.stdout)]
    for folder in [*folders, compiler.parent.parent / "lib", compiler.parent.parent / "lib64"]:
        if (folder / "libmpi.so").exists():
            # A wheel cannot carry a link, so its libmpi.so is one line for the linker: INPUT(libmpi.so.12)
            head = (folder / "libmpi.so").read_bytes()[:200]
            named = re.match(rb"INPUT ?\( ?([^ )]+)", head)
            return (folder / (named[1].decode() if named else "libmpi.so")).resolve()
    raise Refused(f"no libmpi.so where {compiler} looks for it: install the MPI's development files too")
