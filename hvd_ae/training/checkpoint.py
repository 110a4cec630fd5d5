"""Checkpoints: written beside the last good one, and renamed into place when every rank's files are on disk.

    checkpoints/step-00000235/
        manifest.json            how far the run was, its settings, and each shared file's SHA-256
        parameters.npy ...       what is the same on all ranks once they have settled, written by the root
        rank-00001.json          the same list for what is rank 1's own
        rank-00001.seed_0.npy    such as dropout's seeds, or slots that are not averaged
        rank-00001.exact.*.npy   in the middle of an epoch: what settling has changed, as it was before

So a folder with its final name is whole, whenever a writer was killed. The same number of ranks goes on from the exact
state, another number from the settled one.
"""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from hvd_ae.collectives.agree import first_of
from hvd_ae.config import WAY_SETTINGS
from hvd_ae.data.sources import fingerprint
from hvd_ae.errors import NotWritten
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import Prepared
from hvd_ae.training.vector_files import sync_folder, write_json, write_vectors

FORMAT = 2

# What must be as it was for a resumed run to be the same run, beside the data. Epochs, steps, learning rate, and the
# number of ranks and their batch may change.
SAME = ("model", "precision", "loss", "optimizer", "averaging", "partition", "concentration", "seed",
        *sorted({name for settings in WAY_SETTINGS.values() for name in settings}))


def save(prepared: Prepared, position: Position, folder: Path, keep: int) -> Path:
    """Write a checkpoint and delete all but the newest `keep` (every rank calls it); returns its path.

    In the middle of an epoch the ranks settle for it, and are not what they were afterwards.

    Raises:
        NotWritten: on every rank, where a file could not be written on any; older checkpoints are as they were.
    """
    collectives, world, way = prepared.collectives, prepared.collectives.world, prepared.way
    exact: dict[str, tf.Tensor] = {}
    if position.step_in_epoch:
        before = {name: variable.read_value() for name, variable in way.state.items()}  # shares the memory until it changes
        way.settle()
        exact = {name: value for name, value in before.items()
                 if name not in way.vectors or not np.array_equal(value, way.vectors[name])}
    loss_sum = float(collectives.sum(np.array([position.loss_sum])).numpy()[0])
    own = way.own_vectors()
    final = folder / f"step-{position.step:08d}"
    partial = folder / f"{final.name}.partial"
    manifest = {
        "format": FORMAT, "ranks": world.size, "trainers": prepared.trainers.size, "batch_size": prepared.settings.batch_size,
        "of_ranks": bool(own) or position.step_in_epoch > 0,
        "position": dataclasses.asdict(dataclasses.replace(position, loss_sum=loss_sum)),
        "settings": {name: getattr(prepared.settings, name) for name in SAME},
        "data": prepared.settings.data, "data_fingerprint": fingerprint(prepared.source).tolist(),
    }
    _written(prepared, partial, lambda: world.is_root and _write_shared(partial, manifest, way.shared_vectors()))
    if manifest["of_ranks"]:
        _written(prepared, partial, lambda: _write_own(partial, world.rank, own, exact, position.loss_sum))
    _written(prepared, partial, lambda: world.is_root and _put_in_place(partial, final, keep))
    return final


def _written(prepared: Prepared, partial: Path, write) -> None:
    """Write on every rank; where any cannot, all know, and nothing is left of the attempt."""
    fault = None
    try:
        with prepared.collectives.busy("writing a checkpoint"):
            write()
    except OSError as error:
        fault = f"{error.filename or partial} cannot be written ({error.strerror})"
    fault = first_of(prepared.collectives, fault)
    if fault:
        if prepared.collectives.world.is_root:
            shutil.rmtree(partial, ignore_errors=True)
        raise NotWritten(f"no checkpoint: {fault}; make room, or another --run-dir, and go on from the last good "
                         "checkpoint with --resume")


def _write_shared(partial: Path, manifest: dict, vectors: dict[str, tf.Variable]) -> None:
    for left_over in partial.parent.glob("*.partial"):  # of a writer that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    write_json(partial / "manifest.json", {**manifest, "files": write_vectors(partial, "", vectors)})


def _write_own(partial: Path, rank: int, own: dict, exact: dict, loss_sum: float) -> None:
    prefix = own_prefix(rank)
    write_json(partial / f"{prefix}json", {
        "own": write_vectors(partial, prefix, own), "exact": write_vectors(partial, f"{prefix}exact.", exact),
        "loss_sum": loss_sum,
    })


def _put_in_place(partial: Path, final: Path, keep: int) -> None:
    sync_folder(partial)
    if final.exists():  # of the same step, but found damaged, or left by a run with another number of ranks
        shutil.rmtree(final)
    os.replace(partial, final)
    sync_folder(final.parent)
    for old in checkpoints(final.parent)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, the newest first."""
    return sorted((path for path in folder.glob("step-*") if path.suffix != ".partial"), reverse=True)


def own_prefix(rank: int) -> str:
    return f"rank-{rank:05d}."
