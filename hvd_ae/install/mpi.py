"""Which MPI: the one whose mpirun starts the ranks, or another when the user says so."""

import filecmp
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
        return f"{self.vendor} {self.version} ({'of this environment' if self.embedded else self.library.parent})"


def find_mpi(mpi_home: str | None = None) -> Mpi:
    """The MPI to build for: `mpi_home`, else $MPI_HOME, else the one that starts this environment's ranks.

    The latter is the MPI of the `mpirun` that comes first on the PATH, where this environment's own programs come first
    unless the PATH says otherwise. `mpi_home` is the folder that has `bin/mpicxx` in it, or the word `mpicc`: the MPI
    whose mpicc is on the PATH.

    Raises:
        Refused: there is no usable MPI there.
    """
    said = mpi_home or os.environ.get("MPI_HOME") or None
    where = "--mpi-home" if mpi_home else "MPI_HOME"
    if said == "mpicc":
        return _on_path("mpicc", os.environ.get("PATH", os.defpath))
    if said is not None:
        folder = Path(said).expanduser().absolute()
        if not (folder / "bin" / "mpicxx").is_file():
            raise Refused(
                f"{where}={said} has no bin/mpicxx: name the folder of an MPI with its compiler wrappers, "
                f"or leave {where} out to use the MPI of the mpirun on the PATH"
            )
        return describe(folder / "bin" / "mpicxx")
    own, path = os.path.join(sys.prefix, "bin"), os.environ.get("PATH", os.defpath)
    return _on_path("mpirun", path if own in path.split(os.pathsep) else f"{own}{os.pathsep}{path}")


def _on_path(program: str, path: str) -> Mpi:
    found = shutil.which(program, path=path)
    if not found:
        raise Refused(
            f"no MPI found, for no {program} is on the PATH: `pip install mpich` puts one into this environment, without "
            "root; or name a site's own with --mpi-home FOLDER (the folder that has bin/mpicxx in it)"
        )
    compiler = _compiler_beside(Path(found), program)
    if not compiler:
        raise Refused(
            f"{found} has no mpicxx beside it: install the development files of its MPI (Debian: libopenmpi-dev or "
            "libmpich-dev), or name another MPI with --mpi-home FOLDER (the folder that has bin/mpicxx in it)"
        )
    return describe(compiler)


def _compiler_beside(program: Path, name: str) -> Path | None:
    """The mpicxx of the same MPI, where links are followed as far as they have one: /usr/bin/mpirun leads to
    mpirun.openmpi, whose compiler is mpicxx.openmpi, whatever /usr/bin/mpicxx is."""
    found = None
    while True:
        compiler = program.with_name(program.name.replace(name, "mpicxx"))
        if name in program.name and compiler.is_file():
            found = compiler
        if not program.is_symlink():
            return found
        program = program.parent / program.readlink()


def is_embedded(compiler: Path) -> bool:
    """Whether this MPI came with a wheel or a conda package: wrapper and library below sys.prefix."""
    own = Path(sys.prefix)
    return compiler.parent == own / "bin" and compiler.is_file() and any((own / "lib").glob("libmpi.so*"))


def describe(compiler: Path) -> Mpi:
    """Everything about the MPI that has this `mpicxx`.

    Raises:
        Refused: its launcher or library is missing, or the library does not say what it is.
    """
    mpirun = compiler.with_name(compiler.name.replace("mpicxx", "mpirun"))
    if not mpirun.is_file():
        raise Refused(f"{compiler} has no mpirun beside it: install the whole MPI, or name another (--mpi-home)")
    library = _library(compiler)
    asked = _said(sys.executable, "-c", VERSION_PROGRAM, str(library))
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
    """The library that programs compiled with this wrapper are linked to, as the wrapper itself says."""
    shown = _said(str(compiler), "-show").stdout
    folders = [Path(folder) for folder in re.findall(r'-L ?"?([^\s"]+)', shown)]
    # libmpich in Debian's MPICH, beside which there may be the libmpi of another MPI
    named = [name for name in re.findall(r"-l(mpi\w*)", shown) if not re.search("cxx|fort|mpifh", name)]
    for folder in [*folders, compiler.parent.parent / "lib", compiler.parent.parent / "lib64"]:
        for name in named or ["mpi"]:
            if (folder / f"lib{name}.so").exists():
                return _as_loaded(folder / f"lib{name}.so")
    raise Refused(f"no lib{(named or ['mpi'])[0]}.so where {compiler} looks for it: install the MPI's development files too")


def _as_loaded(library: Path) -> Path:
    """The file that a program linked to this one loads."""
    # A wheel cannot carry a link, so its libmpi.so is one line for the linker, INPUT(libmpi.so.12), or a copy
    named = re.match(rb"INPUT ?\( ?([^ )]+)", library.read_bytes()[:200])
    if named:
        return library.with_name(named[1].decode()).resolve()
    copies = [] if library.is_symlink() else [other for other in library.parent.glob(f"{library.name}.*")
                                              if filecmp.cmp(other, library, shallow=False)]
    return min(copies, key=lambda other: len(other.name), default=library).resolve()


def _said(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
