"""What each rank of `benchmarks input` runs: epochs of reading, as training reads, and nothing else.

    python -m benchmarks.input_ranks FILE WINDOW HOW ...

HOW is "in order", where every process decodes its share of the blocks and keeps nothing; "windows", of this part of the
data; "held", all in the ranks' memory; or "cold": windows of a file that the page cache does not hold.
"""

import os
import sys

import numpy as np

from benchmarks.contest import slowest
from benchmarks.input import said
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_STEPS, _BATCH = 50, 128  # of a call into the graph
_TURNS = 3


def main(path: str, window: float, *hows: str) -> None:
    import_tensorflow()
    from hvd_ae.collectives.start import start
    from hvd_ae.data.open import open_source
    from hvd_ae.data.source import SAMPLES

    comm = start(None)
    for how in hows * _TURNS:
        source = open_source(path)
        data_bytes = source.count * source.fields[SAMPLES].bytes_read
        if how == "cold" and comm.world.is_root:
            forget(path)
        if how == "in order":
            seconds, decoded = slowest(comm, lambda source=source: in_order(source, comm.world)), None
        else:
            largest = data_bytes // source.count * np.diff(source.block_starts, append=source.count).max()
            in_windows = 2 * max(window * data_bytes, largest)  # two are in memory at a time, each of a block at least
            memory = 4 * comm.world.size * data_bytes if how == "held" else in_windows
            seconds, decoded = an_epoch(source, int(memory), comm)
        if comm.world.is_root:  # who decodes in order counts nothing: that each block comes once is how it is written
            said(source.count, seconds, how=how, decoded=decoded and decoded / data_bytes)


def in_order(source, world) -> None:
    for block in np.array_split(np.arange(len(source.block_starts)), world.size)[world.rank]:
        source.read_block(int(block), list(source.fields))


def an_epoch(source, memory: int, comm) -> tuple[float, float]:
    """The seconds of the slowest rank, and the bytes that all have decoded."""
    from hvd_ae.data.epoch_plan import plan_epoch
    from hvd_ae.settings.train import TrainSettings
    from hvd_ae.training.input import Input

    given = Input(source, list(source.fields), TrainSettings(data=source.name, shuffle_memory=str(memory)).resolved(), comm)
    plan = plan_epoch(given.partition, comm.world, _BATCH, 0)

    def epoch() -> None:
        given.prepare()
        for step in range(0, len(plan.batch_sizes), _STEPS):
            given.reader.read(plan, step, step + _STEPS)

    seconds = slowest(comm, epoch)
    decoded = float(comm.sum(np.array([float(given.measured()[0])])).numpy()[0])
    given.close()
    return seconds, decoded


def forget(path: str) -> None:
    """Have the kernel drop its pages of a file, or of all files of a folder."""
    os.sync()
    paths = [path] if os.path.isfile(path) else [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
    for each in paths:
        descriptor = os.open(each, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
