"""What each rank runs to see that the link is as fast as it was set to: bare all-reduces of one vector."""

import json
import sys
import time

import numpy as np

_TIMES = 10


def main(size: int) -> None:
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    own, total = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
    world.Allreduce(own, total)  # connects
    world.Barrier()
    started = time.perf_counter()
    for _ in range(_TIMES):
        world.Allreduce(own, total)
    slowest = world.allreduce((time.perf_counter() - started) / _TIMES, MPI.MAX)
    if world.rank == 0:
        assert np.all(total == world.size)
        print("ROW", json.dumps({"seconds": slowest}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
