"""What each rank sees of itself, and what follows when all ranks' facts lie side by side: no rank, no communication here."""

import os
import platform
import socket
from collections import Counter

from hvd_ae.commands.doctor.findings import Finding, fault, ok, warning
from hvd_ae.runtime.devices import fair_share, uuid_of_own_gpu, visible_gpus
from hvd_ae.runtime.gpus import driver_gpus, missing_libraries, nccl_shares_gpus, sharing
from hvd_ae.runtime.versions import versions
from hvd_ae.runtime.world import Launch, World


def facts(world: World) -> dict:
    """Plain values, so that they can be gathered as JSON."""
    known, usable = driver_gpus(), visible_gpus()
    return {"rank": world.rank, "local_rank": world.local_rank, "node": world.node, "host": socket.gethostname(),
            "cores": sorted(os.sched_getaffinity(0)), "gpus": usable, "gpus_of_driver": len(known),
            "gpu_name": f"{known[0].name} with {known[0].memory / 2**30:.0f} GiB" if known else "",
            "gpu_uuid": uuid_of_own_gpu(world.local_rank) if world.local_rank < usable or usable == 1 else "",
            "gpu_libraries_missing": missing_libraries() if usable < len(known) and world.local_rank == 0 else [],
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
    if gpus and not any(name.startswith("NCCL") for name in horovod["built_with"]):
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
    number, name = of_ranks[0]["gpus"], of_ranks[0]["gpu_name"]
    unused = next((fact for fact in of_ranks if fact["gpus"] < fact["gpus_of_driver"]), None)
    if unused:
        lacking = sorted({library for fact in of_ranks for library in fact["gpu_libraries_missing"]})
        return warning("GPUs", f"the driver shows rank {unused['rank']} {unused['gpus_of_driver']} ({unused['gpu_name']}), "
                       f"TensorFlow uses {unused['gpus'] or 'none'}",
                       f"it does not find {', '.join(lacking) or 'all of its CUDA libraries'}; `pip install 'hvd_ae[gpu]'` "
                       "brings them")
    if not number:
        return ok("GPUs", "none, ranks train on CPUs")
    together = sharing([fact["gpu_uuid"] for fact in of_ranks])
    if together:
        return _shared(together, name, of_ranks)
    return ok("GPUs", f"{number} seen by each rank, taken by local rank{f'; {name}' if name else ''}")


def _shared(together: list[int], name: str, of_ranks: list[dict]) -> Finding:
    """Ranks that have one GPU between them: which MPI allows, and NCCL does not."""
    seen = f"ranks {', '.join(map(str, together[:8]))} share one {name}"
    built_with = [part for fact in of_ranks for part in (fact.get("horovod") or {}).get("built_with", ())]
    if not nccl_shares_gpus() and any(part.startswith("NCCL") for part in built_with):
        return warning("GPUs", seen, "NCCL takes one rank a GPU; start fewer ranks, or use --collectives mpi")
    return ok("GPUs", f"{seen}, and its memory")


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
