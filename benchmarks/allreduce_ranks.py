"""What each rank of `benchmarks allreduce` runs: contestants in turn at each size, the slowest rank's time counts."""

import json
import sys
from functools import partial

import numpy as np

from benchmarks.contest import alternate, slowest
from benchmarks.rows import spread
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_PATTERN = 7  # numbers differ by place, so that a sum of the wrong places is wrong; all are exact in float32


def main(rounds: int, *sizes: int) -> None:
    import_tensorflow()
    from mpi4py import MPI

    from hvd_ae.collectives.mpi import MPICommunicator
    from hvd_ae.collectives.start import start

    try:
        horovod = start("horovod")
        engines = {"horovod": horovod, "mpi": MPICommunicator(horovod.world)}
    except ValueError:  # Horovod is not installed here
        engines = {"mpi": start("mpi")}
    engine = engines["mpi"]
    world = engine.world
    for size in sizes:
        places = np.arange(max(1, size // 4)) % _PATTERN
        own = ((world.rank + 1) * (1 + places)).astype(np.float32)
        right = (world.size * (world.size + 1) // 2 * (1 + places)).astype(np.float32)
        repeats = min(100, max(5, 100_000_000 // size))
        runs = {name: _in_graph(each, own, repeats) for name, each in engines.items()}
        runs |= {"MPI": _bare(MPI, own, repeats), "copy": _copy(own, repeats)}
        wrong = {name: _wrong(engine, run(), right) for name, run in runs.items() if name != "copy"}  # this warms up too
        runs["copy"]()
        outcomes = alternate({name: partial(slowest, engine, run) for name, run in runs.items()}, rounds)
        for name, outcome in outcomes.items() if world.is_root else ():
            seconds = spread([value / repeats for value in outcome.values])
            print("ROW", json.dumps({"contestant": name, "bytes": places.size * 4, "ranks": world.size,
                                     "repeats": repeats, "wrong": wrong.get(name), **seconds}), flush=True)


def _wrong(engine, total: np.ndarray, right: np.ndarray) -> int:
    """Numbers that came out wrong, over all ranks."""
    return int(engine.sum(np.array([np.count_nonzero(total != right)])).numpy()[0])


def _in_graph(engine, values: np.ndarray, repeats: int):
    """The engine's sum as training calls it: inside a graph, one after the other."""
    import tensorflow as tf

    vector = tf.Variable(values)

    @tf.function
    def sums():
        total = tf.convert_to_tensor(vector)
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
    """The floor: what comes in has at least to be written to where it is wanted."""
    target = np.empty_like(values)

    def run():
        for _ in range(repeats):
            np.copyto(target, values)
        return target

    return run


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
