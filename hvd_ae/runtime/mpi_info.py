"""What MPI needs before it starts, what it and Horovod say of themselves, and which library files this process has loaded."""

import os
import re
import sys

from hvd_ae.runtime.world import World


def choose_network() -> None:
    """What has to be set before MPI is initialised; MPIs that it is not meant for know nothing of it."""
    if os.environ.get("SLURM_MPI_TYPE") == "pmi2":
        # MPICH 5's UCX describes each rank in lines that Slurm's pmi2 cuts at 1,024 characters, and then some starts
        # crash or hang; libfabric's lines are short.
        os.environ.setdefault("MPIR_CVAR_CH4_NETMOD", "ofi")


def mpi_library() -> str:
    """The MPI that mpi4py is linked to, as `MPICH 5.0.2`; nothing is initialised.

    Raises:
        ImportError, OSError, RuntimeError: there is no mpi4py, or it does not load.
    """
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    from mpi4py import MPI

    first = MPI.Get_library_version().strip("\0").splitlines()[0].split(",")[0]
    return " ".join(first.replace("Version:", "").split())


def mpi_facts() -> dict:
    """Of the MPI that mpi4py is linked to, which this initialises: some abort the process there, others wait for ever."""
    library = mpi_library()
    from mpi4py import MPI

    if not MPI.Is_initialized():
        choose_network()
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
    levels = {MPI.THREAD_SINGLE: "SINGLE", MPI.THREAD_FUNNELED: "FUNNELED", MPI.THREAD_SERIALIZED: "SERIALIZED",
              MPI.THREAD_MULTIPLE: "MULTIPLE"}
    return {"size": MPI.COMM_WORLD.size, "rank": MPI.COMM_WORLD.rank, "threads": levels[MPI.Query_thread()],
            "library": library, "files": mapped_mpi()}


def place(with_mpi: bool) -> World:
    """This process's place (with MPI, every rank calls it)."""
    if not with_mpi:
        return World()
    from mpi4py import MPI

    from hvd_ae.runtime.nodes import find_world

    return find_world(MPI.COMM_WORLD)


def texts_of_ranks(own: str) -> list[str]:
    """The texts of all ranks in rank order (every rank calls it, with MPI)."""
    from mpi4py import MPI

    from hvd_ae.runtime.nodes import texts_of_all

    return texts_of_all(MPI.COMM_WORLD, own)


def horovod_facts() -> dict:
    """What Horovod was built with; the library files it has loaded come from `mapped_mpi` afterwards."""
    import horovod.tensorflow as hvd

    nccl = int(hvd.nccl_built())  # 0, or 22803 for 2.28.3
    built = {"MPI": hvd.mpi_built(), nccl_name(nccl): nccl, "Gloo": hvd.gloo_built()}
    return {"built_with": [name for name, is_built in built.items() if is_built], "files": mapped_mpi()}


def nccl_name(code: int) -> str:
    """NCCL 2.28.3 for 22803."""
    return f"NCCL {code // 10000}.{code // 100 % 100}.{code % 100}"


def mapped_mpi() -> list[str]:
    """The files of MPI libraries in this process's memory: two of them means two MPIs."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        files = {line.split(maxsplit=5)[5].strip() for line in maps if "libmpi" in line}
    # libmpich in Debian's MPICH, libmpi_gnu_123 in Cray's; libmpifort and libmpi_cxx are parts of the same MPI
    return sorted(file for file in files if re.match(r"libmpi(ch|_abi|_cray|_gnu_\w+|_intel)?\.", os.path.basename(file)))
