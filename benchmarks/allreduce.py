"""The sum over ranks, by size of the vector: this package's engines, bare MPI, and a copy of the same bytes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rows

MPIRUN = Path(sys.executable).with_name("mpirun")


@dataclass(frozen=True)
class AllReduce:
    """What to measure."""

    ranks: int = 2
    smallest: int = 4
    """Bytes of the smallest vector; each next is four times as large."""
    largest: int = 256 << 20
    """Bytes of the largest vector."""
    rounds: int = 9
    """Times that each contestant has its turn at each size."""
    short: bool = False
    """Up to 16 MB, 5 rounds."""


def main(settings: AllReduce) -> None:
    """Run the ranks and keep what they found."""
    largest, rounds = (min(settings.largest, 16 << 20), 5) if settings.short else (settings.largest, settings.rounds)
    command = [str(MPIRUN), "-np", str(settings.ranks), sys.executable, "-m", "benchmarks.allreduce_ranks",
               str(settings.smallest), str(largest), str(rounds)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=rows.ROOT, check=False)
    if ended.returncode:
        sys.exit(f"benchmarks: the ranks ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
    found = [json.loads(line.partition(" ")[2]) for line in ended.stdout.splitlines() if line.startswith("ROW ")]
    rows.append("allreduce", [with_bandwidth(row) for row in found])
    for row in found:
        print(f"{row['bytes']:>12,} B  {row['contestant']:<10} {row['median'] * 1e6:>12,.1f} us  wrong: {row['wrong']}")


def with_bandwidth(row: dict) -> dict:
    """Algorithm and bus bandwidth in GB/s, as nccl-tests define them for an all-reduce; a copy has no bus."""
    algorithm = row["bytes"] / row["median"] / 1e9
    share = None if row["contestant"] == "copy" else 2 * (row["ranks"] - 1) / row["ranks"]
    return {**row, "algorithm_gb_s": algorithm, "bus_gb_s": None if share is None else algorithm * share}
