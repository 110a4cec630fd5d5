"""What each rank of `benchmarks anomaly` runs where the detector is fitted on several: it says the slowest rank's seconds."""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.anomaly import OURS, maker, measure
from benchmarks.anomaly_data import cases
from hvd_ae import start


def main(name: str, learnt_from: str, seed: int, folder: Path, threads: int | None) -> None:
    """Args are those of a row, and where the set lies."""
    make, comm = maker(OURS, threads), start()
    make(0).fit(np.random.default_rng(0).normal(size=(300, 4)))
    case = next(case for case in cases(name, seed, folder) if case.learnt_from == learnt_from)
    comm.barrier()
    row = measure(make(seed), case)
    slowest = comm.maximum(np.array([row["fit_seconds"], row["fit_cpu_seconds"]])).numpy().tolist()
    if comm.world.is_root:
        print("ROW", json.dumps({**row, **dict(zip(("fit_seconds", "fit_cpu_seconds"), slowest))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]) or None)
