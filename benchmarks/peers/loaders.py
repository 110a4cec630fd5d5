"""Reading a chunked HDF5 file with what peers offer, written as an expert would; each yields shuffled batches of 256.

    python -m benchmarks.peers.loaders NAME FILE
"""

import itertools
import os
import sys
import time

import h5py
import numpy as np

from benchmarks.input import said
from benchmarks.input_files import CHUNK, FEATURES
from benchmarks.peers.common import GLOBAL_BATCH

_SECONDS = 4.0  # of reading; an epoch where that is shorter
_WINDOW_CHUNKS = 64  # whose samples are shuffled together


def torch_random(path: str):
    """A map-style data set, opened by each worker for itself; a batch is one sorted selection, which h5py wants."""
    import torch

    class Rows(torch.utils.data.Dataset):
        def __init__(self):
            with h5py.File(path) as file:
                self._count, self._file = len(file["x"]), None

        def __len__(self):
            return self._count

        def __getitem__(self, indices):
            self._file = self._file or h5py.File(path, locking=False)
            return torch.from_numpy(self._file["x"][np.sort(indices)])

    data = Rows()
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(data), GLOBAL_BATCH, drop_last=False)
    return torch.utils.data.DataLoader(data, sampler=sampler, batch_size=None, num_workers=len(os.sched_getaffinity(0)))


def torch_chunks(path: str):
    """An iterable data set: workers share the chunks in a random order, and shuffle those of a window."""
    import torch

    class Chunks(torch.utils.data.IterableDataset):
        def __iter__(self):
            worker = torch.utils.data.get_worker_info()
            with h5py.File(path, locking=False) as file:
                for batch in _batches_of_windows(file["x"], worker.id, worker.num_workers):
                    yield torch.from_numpy(batch)

    return torch.utils.data.DataLoader(Chunks(), batch_size=None, num_workers=len(os.sched_getaffinity(0)))


def tf_data(path: str):
    """Chunks in a random order through as many generators as there are cores, then a buffer in which samples are shuffled."""
    import tensorflow as tf

    with h5py.File(path) as file:
        count = len(file["x"])

    def chunks(part: int, parts: int):
        with h5py.File(path, locking=False) as file:
            for first in np.random.default_rng(0).permutation(np.arange(0, count, CHUNK))[part::parts]:
                yield file["x"][first : first + CHUNK]

    workers = len(os.sched_getaffinity(0))
    of_worker = tf.TensorSpec([None, FEATURES], tf.float32)
    data = tf.data.Dataset.range(workers).interleave(
        lambda part: tf.data.Dataset.from_generator(chunks, output_signature=of_worker, args=(part, workers)),
        cycle_length=workers, num_parallel_calls=workers)
    return data.unbatch().shuffle(_WINDOW_CHUNKS * CHUNK).batch(GLOBAL_BATCH).prefetch(2)


def keras_dataset(path: str):
    """A `PyDataset` whose item is a chunk, in a random order, its samples shuffled; threads read ahead."""
    import keras

    class Chunks(keras.utils.PyDataset):
        def __init__(self):
            super().__init__(workers=len(os.sched_getaffinity(0)), use_multiprocessing=False)
            self._file = h5py.File(path, locking=False)
            self._firsts = np.random.default_rng(0).permutation(np.arange(0, len(self._file["x"]), CHUNK))

        def __len__(self):
            return len(self._firsts)

        def __getitem__(self, item):
            chunk = self._file["x"][self._firsts[item] : self._firsts[item] + CHUNK]
            return np.random.default_rng(item).permutation(chunk)

    data = Chunks()
    return (data[item] for item in range(len(data)))


def _batches_of_windows(rows: h5py.Dataset, part: int, parts: int):
    firsts = np.random.default_rng(0).permutation(np.arange(0, len(rows), CHUNK))[part::parts]
    for begin in range(0, len(firsts), _WINDOW_CHUNKS):
        window = np.concatenate([rows[first : first + CHUNK] for first in firsts[begin : begin + _WINDOW_CHUNKS]])
        window = window[np.random.default_rng(begin).permutation(len(window))]
        yield from (window[first : first + GLOBAL_BATCH] for first in range(0, len(window), GLOBAL_BATCH))


def main(name: str, path: str) -> None:
    batches = iter(LOADERS[name](path))
    samples = len(next(batches))  # what starts workers is not counted
    started, samples = time.perf_counter(), 0
    for batch in itertools.takewhile(lambda _: time.perf_counter() - started < _SECONDS, batches):
        samples += len(batch)
    said(samples, time.perf_counter() - started)


LOADERS = {each.__name__: each for each in (torch_random, torch_chunks, tf_data, keras_dataset)}

if __name__ == "__main__":
    main(*sys.argv[1:])
