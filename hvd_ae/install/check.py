"""The proof that the installation works: a real all-reduce over two ranks, and one MPI library for all."""

import filecmp
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from hvd_ae.install.mpi import Mpi
from hvd_ae.install.probe import MARK
from hvd_ae.install.steps import StepFailed, say

TIMEOUT_SECONDS = 180
RANKS = 2
# Open MPI refuses to run as root, and to start more ranks than cores, unless told; other MPIs ignore these.
LAUNCHER = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def check(mpi: Mpi) -> None:
    """Run two ranks under this MPI's mpirun and judge what they found.

    Raises:
        StepFailed: they did not start, did not finish, or did not agree.
    """
    say("checking: a sum over two ranks")
    program = "from hvd_ae.install.probe import main; main()"
    command = [str(mpi.mpirun), "-np", str(RANKS), sys.executable, "-c", program]
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, **LAUNCHER},
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(
            f"`{shlex.join(command)}` did not end within {TIMEOUT_SECONDS} s: the ranks do not meet"
        ) from None
    found = answers(ran.stdout)
    if ran.returncode != 0 or not found:
        print("\n".join((ran.stdout + ran.stderr).splitlines()[-25:]), file=sys.stderr)
        raise StepFailed(f"`{shlex.join(command)}` failed with exit status {ran.returncode}")
    problem = judge(found, mpi)
    if problem:
        raise StepFailed(problem)
    say(f"two ranks agree; Horovod is linked to {found[0]['horovod'][0]}")


def answers(text: str) -> list[dict]:
    """What the ranks found, out of everything that they and their launcher printed, in whatever order."""
    return [json.JSONDecoder().raw_decode(part)[0] for part in text.split(MARK)[1:]]


def judge(found: list[dict], mpi: Mpi) -> str:
    """One sentence about what is wrong with the ranks' answers, or an empty string."""
    problem = next(filter(None, (_libraries(answer, mpi) for answer in found)), "")
    if problem:
        return problem
    seen = sorted((answer["rank"], answer["size"]) for answer in found)
    if seen != [(rank, RANKS) for rank in range(RANKS)]:
        return (
            f"{mpi.mpirun} started {RANKS} ranks, but Horovod sees (rank, size) {seen}: "
            "this mpirun does not belong to the MPI that Horovod is linked to"
        )
    wrong = [answer["sum"] for answer in found if answer["sum"] != RANKS * (RANKS + 1) / 2]
    return f"the sum of 1 and 2 over two ranks came out as {wrong[0]}" if wrong else ""


def _libraries(answer: dict, mpi: Mpi) -> str:
    """What is wrong with the MPI libraries that one rank has loaded, or an empty string."""
    if answer["mpi4py"] is None:
        return f"mpi4py cannot be used: {answer['mpi4py_error']}; `pip install 'mpi4py>=4'`"
    if len(answer["horovod"]) != 1 or not _is_same(answer["horovod"][0], mpi.library):
        return (
            f"Horovod was built for {mpi.library} but loads {', '.join(answer['horovod']) or 'none'}: "
            "look for another MPI in LD_LIBRARY_PATH, LD_PRELOAD or MPI4PY_LIBMPI"
        )
    if answer["mpi4py"] != answer["horovod"]:
        return (
            f"mpi4py loads {', '.join(answer['mpi4py'])} but Horovod {mpi.library}: "
            f"set MPI4PY_LIBMPI={mpi.library}, or uninstall the `mpich` wheel from this environment"
        )
    return ""


def _is_same(file: str, library: Path) -> bool:
    """Whether a program that has loaded one has loaded the other; a wheel carries copies where others have links."""
    return os.path.realpath(file) == str(library) or (
        os.path.dirname(os.path.realpath(file)) == str(library.parent) and filecmp.cmp(file, library, shallow=False))
