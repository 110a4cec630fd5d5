"""Reading of chunked, compressed data: by this package on ranks, and by peers as experts write it."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import jobs, rows
from benchmarks.contest import alternate
from hvd_ae.settings.fields import setting

FEATURES, CHUNK = 784, 256
_WINDOW = 0.1  # of the data
_LOADERS = {"PyTorch DataLoader, random samples": "torch_random", "PyTorch DataLoader, shuffled chunks": "torch_chunks",
            "tf.data, interleave and a shuffle buffer": "tf_data", "Keras PyDataset, shuffled chunks": "keras_dataset"}


@dataclass(frozen=True)
class Input:
    """How much, and on how many ranks."""

    samples: int = setting(200_000, f"Of {FEATURES} float32 values each, {CHUNK} a chunk, gzip.")
    formats: str = setting("hdf5,zarr,parquet,tfrecord,npy", "With commas between them.")
    ranks: str = setting("1,2,4", "Numbers of ranks, with commas between them.")
    rounds: int = setting(3, "Times that each has its turn.")
    short: bool = setting(False, "A fifth of the samples, HDF5 and .npy, 1 and 2 ranks, one round.")
    folder: Path = setting(Path(tempfile.gettempdir()), "Where the data are written for as long as it takes.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Input) -> int:
    """Write the files, let all take turns, and keep the rows."""
    count, formats, numbers, rounds = settings.samples, settings.formats.split(","), settings.ranks.split(","), settings.rounds
    if settings.short:
        count, formats, numbers, rounds = count // 5, ["hdf5", "npy"], ["1", "2"], 1
    decoded: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=settings.folder) as folder:
        files = {name: WRITERS[name](Path(folder), made_up(count)) for name in formats}
        turns = {f"{how}, {name}, {ranks} ranks": partial(_read, how, files[name], int(ranks), decoded,
                                                          f"{how}, {name}, {ranks} ranks")
                 for name in formats for ranks in numbers for how in ("in order", "windows", "held")}
        turns |= {name: partial(_peer, peer, files["hdf5"]) for name, peer in _LOADERS.items() if "hdf5" in files}
        epochs: dict[str, list[float]] = {}
        turns |= {f"training, {name}": partial(_train, files[name], epochs, name) for name in formats}
        outcomes = alternate(turns, rounds)
    measured = [{"what": name, "decoded": decoded.get(name), "reason": outcome.reason, "samples": count,
                 **rows.spread(outcome.values)} for name, outcome in outcomes.items()]
    measured += [{"what": f"training, {name}, first epoch", "decoded": None, "reason": None, "samples": count,
                  **rows.spread(values)} for name, values in epochs.items()]
    rows.append("input", measured, {**asdict(settings), "samples": count, "formats": ",".join(formats),
                                    "ranks": ",".join(numbers), "rounds": rounds}, settings.results)
    return 0


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


def _write_npy(folder: Path, samples: np.ndarray) -> Path:
    np.save(folder / "data.npy", samples)
    return folder / "data.npy"


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "hdf5": _write_hdf5, "zarr": _write_zarr, "parquet": _write_parquet, "tfrecord": _write_tfrecord, "npy": _write_npy}


def _read(how: str, path: Path, ranks: int, decoded: dict[str, float | None], name: str) -> float:
    ended = jobs.run(jobs.mpirun(ranks, *jobs.module("benchmarks.input_ranks", how, path, _WINDOW)))
    decoded[name] = ended.rows[0]["decoded"]
    share = "" if decoded[name] is None else f", decoded {decoded[name]:.3f} of the data"
    print(f"{name:<40} {ended.rate():>10,.0f} samples/s{share}", flush=True)
    return ended.rate()


def _peer(peer: str, path: Path) -> float:
    rate = jobs.run(jobs.module("benchmarks.peers.loaders", peer, path)).rate()
    print(f"{peer:<40} {rate:>10,.0f} samples/s", flush=True)
    return rate


def _train(path: Path, first: dict[str, list[float]], name: str) -> float:
    """Samples a second of the later epochs; those of the first, reading included, go into `first`."""
    trained = jobs.train(2, "--data", path, "--validation-samples", 1000, "--validation-split", 0.01, "--model", "deep",
                         "--epochs", 3)
    rates = [epoch["timed_samples"] / epoch["timed_seconds"] for epoch in trained.epochs]
    first.setdefault(name, []).append(rates[0])
    print(f"training, {name:<30} {rates[0]:>10,.0f} samples/s in the first epoch, then {min(rates[1:]):,.0f}", flush=True)
    return float(np.median(rates[1:]))


def said(samples: int, seconds: float, **more) -> None:
    print("ROW", json.dumps({"samples_per_second": samples / seconds, **more}), flush=True)
