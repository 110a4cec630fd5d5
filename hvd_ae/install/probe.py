"""One rank of the installation check: `mpirun -np 2` runs its `main`, which prints one JSON line."""

import json
import os

MARK = "hvd_ae probe: "


def main() -> None:
    """Sum 1..size over the ranks with Horovod, and say which MPI library files Horovod and mpi4py loaded.

    MPI is initialised by mpi4py, as in training: what Horovod initialises it also finalises, on every rank as
    soon as the first one leaves.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import horovod.tensorflow as hvd
    import tensorflow as tf

    found = {"horovod": mapped_mpi()}
    found |= mpi4py_facts()
    hvd.init()
    total = hvd.allreduce(tf.fill([1000], float(hvd.rank() + 1)), op=hvd.Sum, name="hvd_ae.probe")
    found |= {"rank": hvd.rank(), "size": hvd.size(), "sum": float(total[0])}
    print(MARK + json.dumps(found), flush=True)


def mpi4py_facts() -> dict:
    """What mpi4py sees, or why it could not be imported."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return {"mpi4py": None, "mpi4py_error": str(error).splitlines()[0]}
    return {"mpi4py": mapped_mpi(), "mpi4py_size": MPI.COMM_WORLD.size}


def mapped_mpi() -> list[str]:
    """The files of MPI libraries in this process's memory: two of them means two MPIs."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        files = {line.split(maxsplit=5)[5].strip() for line in maps if "libmpi" in line}
    return sorted(file for file in files if os.path.basename(file).startswith(("libmpi.", "libmpi_abi.")))
