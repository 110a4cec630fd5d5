"""A step taken apart: input, forward and backward, all-reduce, a step without communication, the whole step."""

import json
import subprocess
import sys
from dataclasses import dataclass

from benchmarks import rows
from benchmarks.allreduce import MPIRUN


@dataclass(frozen=True)
class Step:
    """What to measure."""

    data: str = "synthetic:30000x784"
    ranks: int = 2
    batch_size: int = 128
    rounds: int = 15
    short: bool = False
    """5 rounds."""


def main(settings: Step) -> None:
    """Run the ranks, once for each engine and way, and keep what they found."""
    for averaging, collectives in (("gradient", "horovod"), ("gradient", "mpi"), ("sharded", "horovod")):
        command = [str(MPIRUN), "-np", str(settings.ranks), sys.executable, "-m", "benchmarks.step_ranks", settings.data,
                   str(settings.batch_size), str(5 if settings.short else settings.rounds), averaging, collectives]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=rows.ROOT, check=False)
        if ended.returncode:
            sys.exit(f"benchmarks: the ranks ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
        found = [json.loads(line.partition(" ")[2]) for line in ended.stdout.splitlines() if line.startswith("ROW ")]
        rows.append("step", found)
        for row in found:
            print(f"{averaging:<9} {collectives:<8} {row['part']:<22} {row['median'] * 1e3:>8.3f} ms "
                  f"({row['low'] * 1e3:.3f} to {row['high'] * 1e3:.3f})")
