"""Goes through the checks: what a rank sees by itself, what follows from all ranks' facts, what they measure together."""

import importlib.util
import json
import os
import socket
from collections.abc import Callable

from hvd_ae.commands.doctor.findings import Finding, fault, of_the_worst_rank, warning, worst
from hvd_ae.commands.doctor.supervisor import Channel, Report, supervised
from hvd_ae.errors import Refused
from hvd_ae.runtime.tensorflow_setup import import_tensorflow
from hvd_ae.runtime.world import Launch, read_launch
from hvd_ae.settings.commands import DoctorSettings

_NOT_ALL_CAME = "a rank failed or never came, or a firewall stands between the nodes"
_UNFORESEEN = "nothing that was foreseen: please report it"


def doctor(settings: DoctorSettings) -> int:
    """Check what a job on these ranks will stand on (every rank calls it); 0, or 1 where there is a fault."""
    launch = read_launch(os.environ)
    return supervised(lambda tell: _look(tell, launch, settings), Report(settings.json, launch),
                      settings.timeout)


def _look(tell: Channel, launch: Launch, settings: DoctorSettings) -> None:
    """Tell what is found; what raises becomes a fault, and ends the other ranks, which would wait."""
    try:
        _go_through(tell, launch, settings)
        tell.doing("end", "leaving MPI", _NOT_ALL_CAME)
        tell.over()
    except Exception as error:
        tell.found_here(fault(tell.check, _sentence(error), _UNFORESEEN))
        tell.over("badly")
        from hvd_ae.runtime.failure import end_all_ranks

        end_all_ranks(1)


def _go_through(tell: Channel, launch: Launch, settings: DoctorSettings) -> None:
    engine = settings.collectives
    tell.doing("TensorFlow", "its import", "a slow file system needs a longer --timeout")
    import_tensorflow()
    tell.doing("MPI", "the import of mpi4py", "pip install 'hvd_ae[mpi]' brings it together with an MPI")
    mpi, of_ranks = _start_mpi(tell, launch), None
    if mpi or launch.size == 1:
        of_ranks = _facts_of_all(tell, mpi)
    if not of_ranks:
        return
    findings = _from_facts(of_ranks, mpi)
    tell.found(*findings)
    if worst([finding for finding in findings if finding.check in ("facts", "GPUs")]) != "fault":
        level = {finding.check: finding.level for finding in findings}
        has_horovod = mpi and all(fact["horovod"] for fact in of_ranks) and level["Horovod"] != "fault"
        # as training would choose: one process by itself communicates with nobody
        default = "single" if len(of_ranks) == 1 else "horovod" if has_horovod else "mpi" if mpi else "single"
        wanted = "horovod" if engine == "horovod" and has_horovod else default  # also on one rank, to try NCCL
        name = wanted if engine in (None, "horovod") else engine
        _together(tell, name, level["cores"] != "ok", all(fact["gpus"] for fact in of_ranks), settings)


def _start_mpi(tell: Channel, launch: Launch) -> dict | None:
    """What MPI says of itself; None where there is none, or where this is one of N lone copies."""
    from hvd_ae.commands.doctor import ranks
    from hvd_ae.runtime import mpi_info as about

    try:
        library = about.mpi_library()
    except (ImportError, OSError, RuntimeError) as error:
        seen, remedy = f"mpi4py does not load ({_sentence(error)})", "pip install 'hvd_ae[mpi]' brings it together with an MPI"
        if launch.size > 1:
            tell.found_here(fault("MPI", seen, remedy))
        else:
            tell.found(warning("MPI", seen, f"one process works without; {remedy}"))
        return None
    under = f" under {launch.variable}={launch.size}" if launch.variable else ""
    tell.doing("launcher", f"the start of {library}{under}", f"use the mpirun of this MPI, or {ranks.srun_for(library)}; if "
               f"that is what you did, {_NOT_ALL_CAME}")
    mpi = about.mpi_facts()
    if mpi["rank"]:
        tell.quiet()
    launcher = ranks.check_launcher(launch, mpi)
    tell.found(launcher)
    return None if launcher.level == "fault" else mpi


def _facts_of_all(tell: Channel, mpi: dict | None) -> list[dict]:
    """Each rank's facts, in rank order, the same on all ranks."""
    from hvd_ae.commands.doctor import ranks
    from hvd_ae.runtime.mpi_info import place, texts_of_ranks

    tell.doing("MPI", "an exchange between the ranks", _NOT_ALL_CAME)
    world = place(with_mpi=mpi is not None)
    tell.doing("Horovod", "its import", "run `hvd-ae install-horovod`")
    try:
        own = {**ranks.facts(world), "mpi": mpi, "horovod": _horovod()}
    except Exception as error:
        own = {"rank": world.rank, "error": f"{_sentence(error)} on {socket.gethostname()}"}
    tell.doing("MPI", "an exchange between the ranks", _NOT_ALL_CAME)
    return [json.loads(text) for text in texts_of_ranks(json.dumps(own))] if mpi else [own]


def _horovod() -> dict | None:
    from hvd_ae.runtime.mpi_info import horovod_facts

    if importlib.util.find_spec("horovod") is None:
        return None
    try:
        return horovod_facts()
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": _sentence(error)}


def _from_facts(of_ranks: list[dict], mpi: dict | None) -> list[Finding]:
    from hvd_ae.commands.doctor import ranks

    failed = [fact for fact in of_ranks if "error" in fact]
    if failed:
        return [fault("facts", f"rank {failed[0]['rank']}: {failed[0]['error']}", _UNFORESEEN)]
    checks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("hosts", lambda: [ranks.check_hosts(of_ranks)]), ("cores", lambda: ranks.check_cores(of_ranks)),
        ("GPUs", lambda: [ranks.check_gpus(of_ranks)]), ("versions", lambda: ranks.check_versions(of_ranks))]
    if mpi:
        checks = [
            ("MPI", lambda: [of_the_worst_rank([ranks.check_mpi(fact["mpi"]) for fact in of_ranks])]),
            ("Horovod", lambda: [of_the_worst_rank([ranks.check_horovod(fact["horovod"], fact["mpi"], fact["gpus"])
                                                    for fact in of_ranks])]), *checks]
    return [finding for check, look in checks for finding in _tried(check, look)]


def _tried(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:
        return [fault(check, _sentence(error), _UNFORESEEN)]


def _together(tell: Channel, name: str, ranks_share_cores: bool, with_gpus: bool, settings: DoctorSettings) -> None:
    """What is measured, through the engine of this name."""
    from hvd_ae.collectives.start import start
    from hvd_ae.commands.doctor import measured

    tell.doing("start", f"the start of collectives {name!r}", "try --collectives mpi" if name == "horovod" else _NOT_ALL_CAME)
    try:
        engine = start(name)
    except Refused as refusal:
        tell.found(fault("start", *str(refusal).partition(": ")[::2]))
        return
    if with_gpus:
        tell.doing("GPU", "a product of matrices on the GPU", "nvidia-smi shows what the driver sees, and who else is on it")
        tell.found(measured.check_gpu(engine))
    if engine.world.size > 1 or (with_gpus and name == "horovod"):
        tell.doing("all-reduce", f"a sum through {name}", "try --collectives mpi, and look whether nodes reach each other")
        tell.found(*measured.check_all_reduce(engine, ranks_share_cores))
    run_dir = settings.run_dir
    tell.doing("run folder", f"writing into {run_dir}", "the file system does not answer: name another with --run-dir")
    tell.found(*measured.check_run_dir(engine, run_dir))
    tell.doing("clocks", "an exchange between the ranks", _NOT_ALL_CAME)
    tell.found(measured.check_clocks(engine))
    if settings.data is not None:
        from hvd_ae.commands.doctor.data import check_data

        tell.doing("data", f"reading {settings.data}", "a slow file system, or a large block, needs a longer --timeout")
        tell.found(*check_data(engine, settings))


def _sentence(error: BaseException) -> str:
    """The first line of an exception; its kind too where that is not evident."""
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, (OSError, ImportError)) and text else f"{type(error).__name__}: {text}".rstrip(": ")


