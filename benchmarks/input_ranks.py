"""What each rank of `benchmarks input` runs: an epoch of reading, as training reads, and nothing else."""

import sys

import numpy as np

from benchmarks.contest import slowest
from benchmarks.input import said
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_STEPS, _BATCH = 50, 128  # of a call into the graph


def main(how: str, path: str, window: float) -> None:
    import_tensorflow()
    from hvd_ae.collectives.start import start
    from hvd_ae.data.epoch_plan import plan_epoch
    from hvd_ae.data.open import open_source
    from hvd_ae.data.source import SAMPLES
    from hvd_ae.settings.train import TrainSettings
    from hvd_ae.training.input import Input

    comm = start(None)
    source = open_source(path)
    data_bytes = source.count * source.fields[SAMPLES].bytes_read
    memory = {"windows": int(2 * window * data_bytes), "held": 4 * comm.world.size * data_bytes}.get(how, data_bytes)
    settings = TrainSettings(data=path, shuffle_memory=str(memory)).resolved()
    given = Input(source, [SAMPLES], settings, comm)
    plan = plan_epoch(given.partition, comm.world, _BATCH, 0)

    def epoch() -> None:
        if how == "in order":
            for block in np.array_split(np.arange(len(source.block_starts)), comm.world.size)[comm.world.rank]:
                source.read_block(int(block), [SAMPLES])
            return
        given.prepare()
        for step in range(0, len(plan.batch_sizes), _STEPS):
            given.reader.read(plan, step, step + _STEPS)

    seconds = slowest(comm, epoch)
    decoded = float(comm.sum(np.array([float(given.measured()[0])])).numpy()[0])
    if comm.world.is_root:  # who decodes in order counts nothing: that each block comes once is how it is written
        said(source.count, seconds, decoded=None if how == "in order" else decoded / data_bytes)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
