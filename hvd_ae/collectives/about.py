"""What MPI and Horovod say of themselves, and which library files this process has loaded."""

import os


def mpi_facts() -> dict:
    """Of the MPI that mpi4py is linked to, which this initialises.

    Raises:
        ImportError, RuntimeError: there is no mpi4py, or it does not load.
    """
    from mpi4py import MPI

    levels = {MPI.THREAD_SINGLE: "SINGLE", MPI.THREAD_FUNNELED: "FUNNELED", MPI.THREAD_SERIALIZED: "SERIALIZED",
              MPI.THREAD_MULTIPLE: "MULTIPLE"}
    text = MPI.Get_library_version()
    return {"size": MPI.COMM_WORLD.size, "rank": MPI.COMM_WORLD.rank, "threads": levels[MPI.Query_thread()],
            "library": " ".join(text.replace("Version:", "").split()[:3]).strip("\0,"), "files": mapped_mpi()}


def horovod_facts() -> dict:
    """What Horovod was built with; the library files it has loaded come from `mapped_mpi` afterwards."""
    import horovod.tensorflow as hvd

    built = {"MPI": hvd.mpi_built(), "NCCL": hvd.nccl_built(), "Gloo": hvd.gloo_built()}
    return {"built_with": [name for name, is_built in built.items() if is_built], "files": mapped_mpi()}


def mapped_mpi() -> list[str]:
    """The files of MPI libraries in this process's memory: two of them means two MPIs."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        files = {line.split(maxsplit=5)[5].strip() for line in maps if "libmpi" in line}
    return sorted(file for file in files if os.path.basename(file).startswith(("libmpi.", "libmpi_abi.")))
