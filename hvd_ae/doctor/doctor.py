"""Goes through the checks, gathers what all ranks see, and says it from one."""

import dataclasses
import importlib.util
import json
from collections.abc import Mapping

from hvd_ae.collectives.about import horovod_facts, mpi_facts
from hvd_ae.collectives.agree import gather_texts
from hvd_ae.collectives.engine import Engine
from hvd_ae.collectives.start import start
from hvd_ae.doctor import measured, ranks
from hvd_ae.doctor.findings import Finding, fault, warning, worst
from hvd_ae.errors import Refused
from hvd_ae.world import read_launch


def doctor(run_dir: str, as_json: bool, collectives: str | None, environ: Mapping[str, str]) -> int:
    """Check what a job on these ranks will stand on (every rank calls it); 0, or 1 where there is a fault."""
    launch = read_launch(environ)
    findings, mpi, engine = [], None, None
    try:
        mpi = mpi_facts()
    except (ImportError, RuntimeError) as error:
        findings.append(warning("MPI", f"mpi4py does not load ({str(error).splitlines()[0]})",
                                "one process works without; pip install 'hvd_ae[mpi]' brings it together with an MPI"))
    if mpi:
        findings += [ranks.check_launcher(launch, mpi), ranks.check_mpi(mpi)]
    if worst(findings) != "fault":
        try:
            engine = start(collectives)
        except Refused as refusal:
            findings.append(fault("start", *str(refusal).partition(": ")[::2]))
    if engine:
        findings += _together(engine, mpi, run_dir)
    speaks = engine.world.is_root if engine else launch.rank == 0
    if speaks:
        lines = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps(lines, indent=1) if as_json else "\n".join(finding.line() for finding in findings), flush=True)
    return 1 if worst(findings) == "fault" else 0


def _together(engine: Engine, mpi: dict | None, run_dir: str) -> list[Finding]:
    own = {**ranks.facts(engine.world), "horovod": _horovod()}
    of_ranks = [json.loads(text) for text in gather_texts(engine, json.dumps(own))]
    findings = [ranks.check_horovod(fact["horovod"], mpi, fact["gpus"]) for fact in of_ranks] if mpi else []
    findings = sorted(findings, key=lambda finding: ["ok", "warning", "fault"].index(finding.level))[-1:]
    cores = ranks.check_cores(of_ranks)
    findings += [ranks.check_hosts(of_ranks), *cores, ranks.check_gpus(of_ranks)]
    findings += measured.check_all_reduce(engine, worst(cores) != "ok") if engine.world.size > 1 else []
    findings += [*measured.check_run_dir(engine, run_dir), measured.check_clocks(engine), *ranks.check_versions(of_ranks)]
    return findings


def _horovod() -> dict | None:
    if importlib.util.find_spec("horovod") is None:
        return None
    try:
        return horovod_facts()
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": str(error).strip().splitlines()[0]}
