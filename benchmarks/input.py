"""Reading of chunked, compressed data: by this package on ranks, and by peers as experts write it."""

import json
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import input_training, jobs, rows
from benchmarks.contest import alternate
from benchmarks.input_files import CHUNK, FEATURES, WRITERS, made_up
from hvd_ae.settings.fields import setting

_WINDOW = 0.1  # of the data
_HOWS = ("in order", "windows", "held")
_LOADERS = {"PyTorch DataLoader, random samples": ("torch_random", "random"),
            "PyTorch DataLoader, shuffled chunks": ("torch_chunks", "shuffles"),
            "tf.data, interleave and a shuffle buffer": ("tf_data", "shuffles"),
            "Keras PyDataset, shuffled chunks": ("keras_dataset", "shuffles")}


@dataclass(frozen=True)
class Input:
    """How much, and on how many ranks."""

    samples: int = setting(200_000, f"Of {FEATURES} float32 values each, {CHUNK} a chunk, gzip.")
    formats: str = setting("hdf5,zarr,parquet,tfrecord,npy,contiguous", "With commas between them; the last is HDF5, too.")
    ranks: str = setting("1,2,4", "Numbers of ranks, with commas between them.")
    rounds: int = setting(3, "Times that each has its turn.")
    epochs: int = setting(10, "Of the trainings on data that lie sorted by class.")
    gigabytes: float = setting(8.0, "Of the data with which memory is looked at, as 10^9 bytes of float32.")
    short: bool = setting(False, "Fewer samples, HDF5 and .npy on 2 ranks, two peers, one round; no errors and no memory.")
    folder: Path = setting(Path(tempfile.gettempdir()), "Where the data are written for as long as it takes.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Input) -> int:
    """Write the files, let all take turns, and keep the rows."""
    count, formats, numbers, rounds = settings.samples, settings.formats.split(","), settings.ranks.split(","), settings.rounds
    peers = list(_LOADERS)
    if settings.short:
        count, formats, numbers, rounds, peers = count // 4, ["hdf5", "npy", "contiguous"], ["2"], 1, peers[:2]
    rates, shares = defaultdict(list), {}
    measured = []
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=settings.folder) as name:
        folder, samples = Path(name), made_up(count)
        files = {name: WRITERS[name](folder, samples) for name in formats}
        turns = {(name, int(ranks)): partial(_read, name, files[name], int(ranks), rates, shares)
                 for name in formats for ranks in numbers}
        turns |= {name: partial(_peer, name, files["hdf5"]) for name in peers if "hdf5" in files}
        turns |= {("training", name): partial(_train, name, files[name], rates) for name in formats if name != "contiguous"}
        outcomes = alternate(turns, rounds)
        if not settings.short:
            measured += _in_error_and_memory(settings, folder)
    for key, outcome in outcomes.items():
        if key in _LOADERS:
            measured.append(_row(key, _LOADERS[key][1], values=outcome.values, reason=outcome.reason))
            continue
        name, ranks = (key[1], 2) if key[0] == "training" else key
        hows = ("first epoch", "training") if key[0] == "training" else [how for how in (*_HOWS, "cold") if rates[(how, *key)]]
        measured += [_row(f"{how}, {name}, {ranks} rank{'s' * (ranks > 1)}", how, name, ranks, shares.get((how, *key)),
                          values=[] if outcome.reason else rates[(how, name, ranks)], reason=outcome.reason)
                     for how in hows or ("windows",)]
    rows.append("input", [{"samples": count, **row} for row in measured],
                {**asdict(settings), "samples": count, "formats": ",".join(formats), "ranks": ",".join(numbers),
                 "rounds": rounds}, settings.results)
    return 0


def _row(what: str, how: str, name: str | None = None, ranks: int | None = None, decoded: float | None = None, *,
         values: list[float], reason: str | None = None, peak: int | None = None, val_mse: float | None = None) -> dict:
    """One row; `values` are samples a second over all ranks."""
    return {"what": what, "how": how, "format": name, "ranks": ranks, "decoded": decoded, "peak": peak, "val_mse": val_mse,
            "reason": reason, **rows.spread(values)}


def _read(name: str, path: Path, ranks: int, rates: dict, shares: dict) -> float:
    """An epoch in every way, in turns, in one job; from a cold cache too where one number of ranks is enough to see it."""
    hows = (*_HOWS, "cold") if (name, ranks) == ("hdf5", 2) else _HOWS
    for row in jobs.run(jobs.mpirun(ranks, *jobs.module("benchmarks.input_ranks", path, _WINDOW, *hows))).rows:
        how = row["how"]
        rates[(how, name, ranks)].append(row["samples_per_second"])
        shares[(how, name, ranks)] = row["decoded"]
        share = "" if row["decoded"] is None else f", decoded {row['decoded']:.3f} of the data"
        print(f"{how}, {name}, {ranks} ranks".ljust(40), f"{row['samples_per_second']:>10,.0f} samples/s{share}", flush=True)
    return float(np.median(rates[("windows", name, ranks)]))


def _peer(name: str, path: Path) -> float:
    rate = jobs.run(jobs.module("benchmarks.peers.loaders", _LOADERS[name][0], path)).rate()
    print(f"{name:<40} {rate:>10,.0f} samples/s", flush=True)
    return rate


def _train(name: str, path: Path, rates: dict) -> float:
    first, later = input_training.speed(path)
    rates[("first epoch", name, 2)].append(first)
    rates[("training", name, 2)].append(later)
    print(f"training, {name:<30} {first:>10,.0f} samples/s in the first epoch, then {later:,.0f}", flush=True)
    return later


def _in_error_and_memory(settings: Input, folder: Path) -> list[dict]:
    little = WRITERS["npy"](folder, made_up(4096))
    measured = [_row(f"by class, {order}", "by class", "hdf5", 2, values=[], val_mse=error)
                for order, error in input_training.errors_by_class(folder, settings.epochs).items()]
    return measured + [_row(f"memory, {size} data", "memory", "hdf5", 2, values=[], peak=peak)
                       for size, peak in input_training.peaks(folder, little, settings.gigabytes).items()]


def said(samples: int, seconds: float, **more) -> None:
    print("ROW", json.dumps({"samples_per_second": samples / seconds, **more}), flush=True)
