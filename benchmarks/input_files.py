"""The files that `benchmarks input` reads: the same samples in every format, and some that are large, or in a bad order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

FEATURES, CHUNK = 784, 256


def made_up(count: int) -> np.ndarray:
    """Samples that compress by about a half, as measured ones do: smooth, and rounded to 1/64."""
    random = np.random.default_rng(0)
    base, samples = random.standard_normal((64, FEATURES)).astype(np.float32), np.empty((count, FEATURES), np.float32)
    for first in range(0, count, 8192):
        factors = random.standard_normal((min(8192, count - first), 64)).astype(np.float32)
        samples[first : first + 8192] = np.round(1 / (1 + np.exp(-factors @ base / 8)) * 64) / 64
    return samples


def _write_hdf5(folder: Path, samples: np.ndarray) -> Path:
    import h5py

    path = folder / "data.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=samples, chunks=(CHUNK, FEATURES), compression="gzip", compression_opts=1, shuffle=True)
    return path


def _write_zarr(folder: Path, samples: np.ndarray) -> Path:
    import tensorstore

    path = folder / "data.zarr"
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)},
            "metadata": {"dtype": "<f4", "shape": samples.shape, "chunks": [CHUNK, FEATURES],
                         "compressor": {"id": "zstd", "level": 1}}}
    tensorstore.open(spec, create=True).result()[...] = samples
    return path


def _write_parquet(folder: Path, samples: np.ndarray) -> Path:
    import pyarrow
    from pyarrow import parquet

    path = folder / "data.parquet"
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(samples.ravel()), FEATURES)
    parquet.write_table(pyarrow.table({"x": column}), path, row_group_size=4 * CHUNK, compression="zstd")
    return path


def _write_tfrecord(folder: Path, samples: np.ndarray) -> Path:
    import tensorflow as tf

    path = folder / "data.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for sample in samples:
            values = tf.train.Feature(float_list=tf.train.FloatList(value=sample))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"x": values})).SerializeToString())
    return path


def _write_contiguous(folder: Path, samples: np.ndarray) -> Path:
    import h5py

    with h5py.File(folder / "contiguous.h5", "w") as file:
        file["x"] = samples
    return folder / "contiguous.h5"


def _write_npy(folder: Path, samples: np.ndarray) -> Path:
    np.save(folder / "data.npy", samples)
    return folder / "data.npy"


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "hdf5": _write_hdf5, "zarr": _write_zarr, "parquet": _write_parquet, "tfrecord": _write_tfrecord, "npy": _write_npy,
    "contiguous": _write_contiguous}


def write_by_class(folder: Path, samples: np.ndarray, classes: np.ndarray) -> Path:
    """The samples sorted by class, which is the worst that a window can meet."""
    import h5py

    with h5py.File(folder / "by_class.h5", "w") as file:
        file.create_dataset("x", data=samples[np.argsort(classes, kind="stable")], chunks=(CHUNK, FEATURES),
                            compression="gzip", compression_opts=1)
    return folder / "by_class.h5"


def write_large(folder: Path, gigabytes: float) -> Path:
    """So many 10^9 bytes, every chunk the same, and little on the disk."""
    import h5py

    chunk = np.repeat(made_up(1), CHUNK, axis=0)
    chunks = int(gigabytes * 1e9 / chunk.nbytes)
    with h5py.File(folder / "large.h5", "w") as file:
        data = file.create_dataset("x", (chunks * CHUNK, FEATURES), np.float32, chunks=(CHUNK, FEATURES), compression="gzip")
        data[:CHUNK] = chunk
        _, content = data.id.read_direct_chunk((0, 0))
        for number in range(1, chunks):
            data.id.write_direct_chunk((number * CHUNK, 0), content)
    return folder / "large.h5"
