"""This process's place among the ranks, and what the launcher says about it: plain values, so a test can make any."""

from collections.abc import Mapping
from dataclasses import dataclass

from hvd_ae.errors import Refused


@dataclass(frozen=True)
class World:
    """This process's place among the ranks."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # position on this node; chooses the GPU
    local_size: int = 1  # ranks on this node, which share its cores
    node: int = 0  # position of this node among the nodes, in the order of their first ranks
    nodes: int = 1

    @property
    def is_root(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True)
class Launch:
    """What the launcher says in its environment variables: the number of ranks it started, and which one this is."""

    variable: str | None = None  # the variable that gave the size; None without a launcher
    size: int = 1
    rank: int = 0


# The innermost launcher comes first. Under `mpirun` inside a Slurm job, Hydra's own proxies are Slurm tasks, and
# their SLURM_* variables (one task per node) reach the ranks; Hydra's PMI_SIZE then tells the truth.
# SLURM_STEP_NUM_TASKS and not SLURM_NTASKS: the latter is also set in a batch script, which is no rank.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI's mpirun
    ("PMI_SIZE", "PMI_RANK"),  # Hydra (MPICH, Intel MPI), Slurm's pmi2
    ("PALS_SIZE", "PALS_RANKID"),  # HPE Cray's PALS
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun; PMIx carries no size of its own
)


def read_launch(environ: Mapping[str, str]) -> Launch:
    """What the launcher says in `environ`; `Launch()` where there was none.

    Sources: Open MPI 5 manual (mpirun, environment variables), MPICH's Hydra, Slurm's srun(1) and pmi2 plugin.
    """
    for size_variable, rank_variable in _LAUNCHERS:
        if size_variable in environ:
            rank = environ.get(rank_variable, environ.get("PMIX_RANK", "0"))
            return Launch(size_variable, _whole(size_variable, environ[size_variable]), _whole(rank_variable, rank))
    return Launch()


def _whole(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Refused(f"{variable}={text!r} is not a whole number: unset it, or start the ranks anew") from None


def check_launch(launch: Launch, world: World, engine: str) -> None:
    """Refuse to train N lone copies.

    Raises:
        Refused: the launcher started another number of ranks than `engine` sees.
    """
    if launch.size == world.size or launch.variable is None:
        return
    seen = "1 rank" if world.size == 1 else f"{world.size} ranks"
    if engine == "single":
        raise Refused(
            f"{launch.variable}={launch.size} but collectives='single' is one process by itself: "
            "use --collectives mpi or horovod, or start one process"
        )
    library = {"mpi": "mpi4py", "horovod": "Horovod"}.get(engine, engine)
    raise Refused(
        f"{launch.variable}={launch.size} but {engine} sees {seen}: the launcher and the MPI that {library} was built "
        "with differ; start the ranks with the mpirun of this environment, or with srun --mpi=pmi2"
    )
