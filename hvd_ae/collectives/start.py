"""Starts the engine: finds this process's rank, which everything after it takes as a value, and its share of devices."""

import importlib
import importlib.util
import os
from collections.abc import Mapping

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.runtime.devices import configure_devices, uuid_of_own_gpu, visible_gpus
from hvd_ae.runtime.failure import watch
from hvd_ae.runtime.gpus import driver_gpus, nccl_shares_gpus, sharing
from hvd_ae.runtime.log import let_root_speak
from hvd_ae.runtime.mpi_info import choose_network
from hvd_ae.runtime.world import Launch, World, check_launch, read_launch

_INSTALL = {
    "mpi4py": "pip install 'hvd_ae[mpi]' brings it together with an MPI",
    "horovod": "`hvd-ae install-horovod` builds it, or use --collectives mpi",
}


def start(engine: str | None = None, threads: int | None = None, environ: Mapping[str, str] = os.environ,
          side_by_side: bool = False) -> Communicator:
    """Find this process's place among the ranks, initialise MPI once, and share out GPUs and cores.

    Args:
        engine: "horovod", "mpi" or "single"; None takes Horovod where it is installed, else MPI, and "single" where
            no launcher started this process. MPI is initialised with MPI_THREAD_MULTIPLE, mpi4py's default.
        threads: threads for this rank; None shares the node's cores fairly.
        side_by_side: whether these are for several calls of a function, each operation taking one (`configure_devices`).

    Raises:
        Refused: a piece is missing, or the launcher started another number of ranks than MPI sees.
    """
    watch()
    launch = read_launch(environ)
    name = engine or _default_engine(launch)
    comm = (_start_single(launch, threads, side_by_side) if name == "single"
            else _start_mpi(name, launch, threads, side_by_side))
    watch(comm)
    let_root_speak(comm.world.is_root)
    return comm


def about_gpus(engine: str, ranks: int) -> list[str]:
    """What a run on a machine with GPUs should know before its first step."""
    gpus, of_driver = visible_gpus(), len(driver_gpus())
    if gpus < of_driver:
        return [f"the driver shows {of_driver} GPU{'s' * (of_driver > 1)} and TensorFlow uses {gpus or 'none'}: "
                "`hvd-ae doctor` says what is missing"]
    if gpus and ranks > 1 and not (engine == "horovod" and _sums_on_gpus()):
        return [f"collectives={engine!r} moves each vector through the host's memory: ranks with a GPU each can do without by "
                "NCCL (`hvd-ae install-horovod --gpu`, --collectives horovod)"]
    return []


def _sums_on_gpus() -> bool:
    import horovod.tensorflow as hvd

    return bool(hvd.nccl_built())


def _refuse_shared_gpus(of_ranks: list[str]) -> None:
    together = sharing(of_ranks)
    if together and _sums_on_gpus() and not nccl_shares_gpus():
        raise Refused(f"ranks {', '.join(map(str, together[:8]))} have one and the same GPU, and NCCL takes one rank a GPU: "
                      "start as many ranks per node as it has GPUs, or use --collectives mpi")


def _start_single(launch: Launch, threads: int | None, side_by_side: bool) -> Communicator:
    from hvd_ae.collectives.single import SingleCommunicator

    check_launch(launch, World(), "single")
    configure_devices(World(), [os.sched_getaffinity(0)], threads, side_by_side)
    return SingleCommunicator()


def _start_mpi(name: str, launch: Launch, threads: int | None, side_by_side: bool) -> Communicator:
    choose_network()
    _require("mpi4py", name)
    from mpi4py import MPI

    from hvd_ae.collectives.mpi import MPICommunicator
    from hvd_ae.runtime.nodes import BeforeEngine, affinities_on_node, find_world, texts_of_all

    world = find_world(MPI.COMM_WORLD)
    check_launch(launch, world, name)
    cores = affinities_on_node(MPI.COMM_WORLD)
    everyone = BeforeEngine(MPI.COMM_WORLD, world)
    run_on_all(everyone, lambda: configure_devices(world, cores, threads, side_by_side), name_rank=True)
    if name == "mpi":
        return MPICommunicator(world)
    run_on_all(everyone, lambda: _require("horovod", name), name_rank=True)
    gpu_of_ranks = texts_of_all(MPI.COMM_WORLD, uuid_of_own_gpu(world.local_rank))
    run_on_all(everyone, lambda: _refuse_shared_gpus(gpu_of_ranks))
    from hvd_ae.collectives.horovod import HorovodCommunicator

    return HorovodCommunicator(world)


def _default_engine(launch: Launch) -> str:
    if launch.size == 1:
        return "single"
    return "horovod" if importlib.util.find_spec("horovod") else "mpi"


def _require(module: str, engine: str) -> None:
    """Import what an engine stands on, or say in one sentence how to get it."""
    remedy = _INSTALL[module]
    if importlib.util.find_spec(module) is None:
        raise Refused(f"collectives={engine!r} needs {module}, which is not installed: {remedy}")
    try:
        importlib.import_module({"mpi4py": "mpi4py.MPI", "horovod": "horovod.tensorflow"}[module])
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Refused(f"collectives={engine!r} needs {module}, which does not load ({reason}): {remedy}") from error
