"""What each rank of `benchmarks allreduce` runs: contestants in turn, the slowest rank's time counts."""

import json
import sys
import time

import numpy as np

from benchmarks.rows import spread
from hvd_ae.quiet import import_tensorflow


def main(smallest: int, largest: int, rounds: int) -> None:
    import_tensorflow()
    import tensorflow as tf
    from mpi4py import MPI

    from hvd_ae.collectives.mpi import MPIEngine
    from hvd_ae.collectives.start import start

    horovod = start("horovod")
    engines = {"horovod": horovod, "mpi": MPIEngine(horovod.world)}
    ranks, size = horovod.world.size, smallest
    while size <= largest:
        count = max(1, size // 4)
        values = np.full(count, horovod.world.rank + 1, np.float32)
        repeats = int(min(200, max(3, 2e8 // size)))
        contestants = {name: _in_graph(tf, engine, values, repeats) for name, engine in engines.items()}
        contestants["MPI"] = _bare(MPI, values, repeats)
        contestants["copy"] = _copy(values, repeats)
        wrong = {name: int(np.sum(run() != ranks * (ranks + 1) / 2)) for name, run in contestants.items() if name != "copy"}
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, run in contestants.items():
                MPI.COMM_WORLD.Barrier()
                started = time.perf_counter()
                run()
                own = np.array([(time.perf_counter() - started) / repeats])
                slowest = np.empty(1)
                MPI.COMM_WORLD.Allreduce(own, slowest, MPI.MAX)
                times[name].append(float(slowest[0]))
        if horovod.world.is_root:
            for name, measured in times.items():
                print("ROW", json.dumps({"contestant": name, "bytes": count * 4, "ranks": ranks, "wrong": wrong.get(name),
                                         **spread(measured)}), flush=True)
        size *= 4


def _in_graph(tf, engine, values: np.ndarray, repeats: int):
    """The engine's sum as training calls it: inside a graph, one after the other."""
    vector = tf.Variable(values)

    @tf.function
    def sums():
        total = tf.zeros_like(vector)
        for _ in tf.range(repeats):
            total = tf.ensure_shape(engine.sum(tf.convert_to_tensor(vector)), vector.shape)
        return total

    return lambda: sums().numpy()


def _bare(MPI, values: np.ndarray, repeats: int):
    total = np.empty_like(values)

    def run():
        for _ in range(repeats):
            MPI.COMM_WORLD.Allreduce(values, total, MPI.SUM)
        return total

    return run


def _copy(values: np.ndarray, repeats: int):
    target = np.empty_like(values)

    def run():
        for _ in range(repeats):
            np.copyto(target, values)
        return target

    return run


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
