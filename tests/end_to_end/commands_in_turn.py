"""Runs `hvd-ae` commands one after the other in one job, whose ranks import TensorFlow and start MPI once for all of them.

    mpirun -np 3 python commands_in_turn.py COMMANDS RESULTS

COMMANDS: a JSON file of [{"arguments": [...], "environment": {...}}, ...], where {rank} stands for the rank's number.
RESULTS: a folder; each rank writes what each command came to into RANK.json, as [{"status", "out", "err", "seconds"}, ...].

For commands that all ranks end in good order once MPI runs: one that a single rank ends, or all before they start MPI, is
a job's end, and needs a job of its own.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from hvd_ae import cli
from hvd_ae.runtime.world import read_launch


@contextmanager
def written_to(descriptor: int, kept: list[str]):
    """Everything that is written to a file descriptor meanwhile, whoever writes it."""
    before = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(before, descriptor)
            os.close(before)
            file.seek(0)
            kept.append(file.read().decode())


def run(arguments: list[str], environment: dict[str, str]) -> dict:
    out, err, started = [], [], time.monotonic()
    os.environ |= environment
    with written_to(1, out), written_to(2, err):
        try:
            status = cli.main(arguments)
        except SystemExit as exits:
            status = exits.code
    for name in environment:
        del os.environ[name]
    return {"status": status, "out": out[0], "err": err[0], "seconds": time.monotonic() - started}


def main(commands: str, results: str) -> None:
    rank, ended = read_launch(os.environ).rank, []
    for command in json.loads(Path(commands).read_text()):
        arguments = [argument.replace("{rank}", str(rank)) for argument in command["arguments"]]
        ended.append(run(arguments, command["environment"]))
    Path(results, f"{rank}.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
