"""What each rank sees of itself, and what follows when all ranks' facts lie side by side: no rank, no communication here."""

import os
import platform
import socket
from collections import Counter

from hvd_ae.commands.doctor.findings import Finding, fault, ok, warning
from hvd_ae.runtime.devices import fair_share
from hvd_ae.runtime.versions import versions
from hvd_ae.runtime.world import Launch, World


def facts(world: World) -> dict:
    """Plain values, so that they can be gathered as JSON."""
    import tensorflow as tf

    return {"rank": world.rank, "local_rank": world.local_rank, "node": world.node, "host": socket.gethostname(),
            "cores": sorted(os.sched_getaffinity(0)), "gpus": len(tf.config.list_physical_devices("GPU")),
            "versions": {"python": platform.python_version(), **versions()}}


def check_launcher(launch: Launch, mpi: dict) -> Finding:
    """N lone copies, or a job: `mpi` is what `mpi_facts` says."""
    if launch.variable is None:
        return ok("launcher", "none: one process by itself")
    if launch.size == mpi["size"]:
        return ok("launcher", f"{launch.variable}={launch.size}, and MPI sees {mpi['size']}")
    return fault("launcher", f"{launch.variable}={launch.size}, but {mpi['library']} sees {mpi['size']}",
                 f"each copy would train alone; use the mpirun of this MPI, or {srun_for(mpi['library'])}")


def srun_for(library: str) -> str:
    """What Slurm has to speak to this MPI."""
    return f"srun --mpi={'pmix' if 'Open MPI' in library else 'pmi2'}"


def check_mpi(mpi: dict) -> Finding:
    seen = f"{mpi['library']}, MPI_THREAD_{mpi['threads']}, {', '.join(mpi['files'])}"
    if len(mpi["files"]) > 1:
        return fault("MPI", seen, "two MPIs in one process; run `hvd-ae install-horovod`, or look into LD_LIBRARY_PATH")
    if mpi["threads"] != "MULTIPLE":
        return fault("MPI", seen, "threads of TensorFlow and Horovod need MPI_THREAD_MULTIPLE; use an MPI built with it")
    return ok("MPI", seen)


def check_horovod(horovod: dict | None, mpi: dict, gpus: int) -> Finding:
    """`horovod` is what `horovod_facts` says, None where it is not installed, or {"error": sentence}."""
    if horovod is None:
        return warning("Horovod", "not installed", "--collectives mpi works without; `hvd-ae install-horovod` builds it")
    if "error" in horovod:
        return fault("Horovod", f"does not load ({horovod['error']})", "run `hvd-ae install-horovod`")
    seen = f"built with {', '.join(horovod['built_with'])}"
    if horovod["files"] != mpi["files"]:
        return fault("Horovod", f"{seen}, linked to {', '.join(horovod['files'])}", "mpi4py has another MPI; run "
                     "`hvd-ae install-horovod`")
    if gpus and "NCCL" not in horovod["built_with"]:
        return warning("Horovod", f"{seen}, and there are GPUs", "run `hvd-ae install-horovod --gpu`, or vectors go through "
                       "the host")
    return ok("Horovod", f"{seen}, on the same MPI as mpi4py")


def check_hosts(of_ranks: list[dict]) -> Finding:
    hosts = Counter(fact["host"] for fact in of_ranks)
    seen = ", ".join(f"{host}: {number} rank{'s' * (number > 1)}" for host, number in hosts.items())
    if len(set(hosts.values())) > 1:
        return warning("hosts", seen, "ranks of fuller nodes have fewer cores each; start the same number on every node")
    return ok("hosts", seen)


def check_cores(of_ranks: list[dict]) -> list[Finding]:
    """Threads per rank, and ranks that have less than a core because others use theirs too."""
    findings, threads = [], []
    for node in sorted({fact["node"] for fact in of_ranks}):
        ranks = [fact for fact in of_ranks if fact["node"] == node]
        cores = [set(fact["cores"]) for fact in ranks]
        users = Counter(core for own in cores for core in own)
        threads += [fair_share(own, cores) for own in cores]
        short = [fact for fact in ranks if sum(1 / users[core] for core in fact["cores"]) < 1 - 1e-9]
        if short:
            shared, named = set().union(*(fact["cores"] for fact in short)), ", ".join(str(fact["rank"]) for fact in short[:8])
            few_of_many = len(short) < len(ranks) or len(users) < (os.cpu_count() or 1)
            remedy = "bind each rank to cores of its own (mpirun -bind-to core)" if few_of_many else "start fewer ranks"
            findings.append(warning("cores", f"{len(short)} rank{'s share' if len(short) > 1 else ' shares'} {len(shared)} "
                                    f"core{'s' * (len(shared) > 1)} of {ranks[0]['host']} ({named})",
                                    f"each waits for the others; {remedy}"))
    few, many = min(threads), max(threads)
    each = f"{few} thread{'s' * (few > 1)} a rank" if few == many else f"{few} to {many} threads a rank"
    return findings or [ok("cores", f"{each}, cores of rank 0: {_ranges(of_ranks[0]['cores'])}")]


def check_gpus(of_ranks: list[dict]) -> Finding:
    short = [fact["rank"] for fact in of_ranks if 1 < fact["gpus"] <= fact["local_rank"]]
    if short:
        return fault("GPUs", f"rank {short[0]} has local rank {of_ranks[short[0]]['local_rank']} and sees "
                     f"{of_ranks[short[0]]['gpus']}", "start one rank per GPU")
    seen = Counter(fact["gpus"] for fact in of_ranks)
    if len(seen) > 1:
        return warning("GPUs", f"ranks see different numbers: {sorted(seen)}", "every rank should see the GPUs of its node")
    number = of_ranks[0]["gpus"]
    return ok("GPUs", "none, ranks train on CPUs" if not number else f"{number} seen by each rank, taken by local rank")


def check_versions(of_ranks: list[dict]) -> list[Finding]:
    first = of_ranks[0]["versions"]
    odd = [fact["rank"] for fact in of_ranks if fact["versions"] != first]
    if odd:
        return [fault("versions", f"rank {odd[0]} has {of_ranks[odd[0]]['versions']}, rank 0 {first}",
                      "start all ranks from one environment that every node sees")]
    return [ok("versions", ", ".join(f"{name} {version or 'not installed'}" for name, version in first.items()))]


def _ranges(cores: list[int]) -> str:
    """0-3,8 for [0, 1, 2, 3, 8]."""
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
