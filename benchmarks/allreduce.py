"""The sum over ranks, by size of the vector: this package's engines, bare MPI, and a copy of the same bytes."""

from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import jobs, rows
from hvd_ae.settings.fields import setting

DEEP = 4 * 1_153_712  # bytes of the model `deep`, whose gradient is what a training step reduces


@dataclass(frozen=True)
class AllReduce:
    """What to measure."""

    ranks: int = setting(2, "Number of ranks.")
    smallest: int = setting(4, "Bytes of the smallest vector; each next is four times as large.")
    largest: int = setting(256 << 20, "Bytes of the largest vector.")
    rounds: int = setting(15, "Times that each contestant has its turn at each size.")
    short: bool = setting(False, "Up to 16 MB, 7 rounds.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: AllReduce) -> int:
    """Run the ranks and keep what they found."""
    largest, rounds = (min(settings.largest, 16 << 20), 7) if settings.short else (settings.largest, settings.rounds)
    used = {**asdict(settings), "largest": largest, "rounds": rounds}
    sizes = sizes_between(settings.smallest, largest)
    try:
        ended = jobs.run(jobs.mpirun(settings.ranks, *jobs.module("benchmarks.allreduce_ranks", rounds, *sizes)), timeout=1800)
    except jobs.JobFailed as failure:
        print(f"allreduce: {failure}")
        found = [{"contestant": None, "ranks": settings.ranks, "bytes": None, "reason": str(failure)}]
        rows.append("allreduce", found, used, settings.results)
        return 1
    found = [with_bandwidth(row) for row in ended.rows]
    rows.append("allreduce", found, used, settings.results)
    for row in found:
        print(f"{row['bytes']:>12,} B  {row['contestant']:<8} {row['median'] * 1e6:>12,.1f} us  "
              f"{row['algorithm_gb_s']:>7.3f} GB/s  wrong: {row['wrong']}")
    return int(any(row["wrong"] for row in found))


def sizes_between(smallest: int, largest: int) -> list[int]:
    """Bytes, each four times the one before, and that of the model `deep` where it lies between."""
    sizes = {DEEP} if smallest <= DEEP <= largest else set()
    while smallest <= largest:
        sizes.add(smallest)
        smallest *= 4
    return sorted(sizes)


def with_bandwidth(row: dict) -> dict:
    """Algorithm and bus bandwidth in GB/s, as nccl-tests define them for an all-reduce.

    Algorithm bandwidth is bytes over seconds. Bus bandwidth multiplies it by 2 (N-1)/N, the part of the vector that each
    of N ranks has to send, so that it can be held against the speed of the link whatever N is. A copy has no bus.
    """
    algorithm = row["bytes"] / row["median"] / 1e9
    ranks = row["ranks"]
    bus = None if row["contestant"] == "copy" else algorithm * 2 * (ranks - 1) / ranks
    return {**row, "algorithm_gb_s": algorithm, "bus_gb_s": bus}
