"""One rank of the installation check: `mpirun -np 2` runs its `main`, which prints one JSON line."""

import json
import os

from hvd_ae.runtime.mpi_info import mapped_mpi

MARK = "hvd_ae probe: "


def main() -> None:
    """Say which MPI library files mpi4py and Horovod load; if they are the same, sum 1..size over the ranks.

    mpi4py comes first, as in training. Two MPIs in one process would crash or hang, so nothing is initialised then.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found = mpi4py_facts()
    before = mapped_mpi()
    import horovod.tensorflow as hvd

    # A library of the same name is loaded only once, and then serves both.
    found["horovod"] = sorted(set(mapped_mpi()) - set(before)) or before
    if found["mpi4py"] == found["horovod"]:
        found |= all_reduce(hvd)
    os.write(1, f"{MARK}{json.dumps(found)}\n".encode())  # in one piece, whatever the other rank writes


def mpi4py_facts() -> dict:
    """Which MPI library mpi4py loads, or why it could not be imported."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return {"mpi4py": None, "mpi4py_error": str(error).splitlines()[0]}
    assert MPI.Get_version()
    return {"mpi4py": mapped_mpi()}


def all_reduce(hvd) -> dict:
    """Horovod's rank and size, and the first element of a sum whose value a formula gives.

    What Horovod initialises it also finalises, on every rank as soon as the first one leaves: mpi4py does it.
    """
    import tensorflow as tf
    from mpi4py import MPI

    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    hvd.init()
    total = hvd.allreduce(tf.fill([1000], float(hvd.rank() + 1)), op=hvd.Sum, name="hvd_ae.probe")
    found = {"rank": hvd.rank(), "size": hvd.size(), "sum": float(total[0])}
    MPI.COMM_WORLD.Barrier()
    hvd.shutdown()
    MPI.Finalize()
    return found
