"""Checkpoints: written beside the last good one, and renamed into place when every rank's files are on disk.

    checkpoints/step-00000235/
        manifest.json            how far the run was, its settings, and each shared file's SHA-256
        parameters.npy ...       what is the same on all ranks, written by the root
        rank-00001.json          the same list for what is rank 1's own
        rank-00001.seed_0.npy    such as dropout's seeds, or slots that are not averaged

So a folder with its final name is whole, whenever a writer was killed.
"""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np

from hvd_ae.collectives.agree import broadcast_text, together
from hvd_ae.config import WAY_SETTINGS
from hvd_ae.errors import Refused
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import Prepared
from hvd_ae.training.vector_files import BadFile, read_json, read_vectors, sync_folder, write_json, write_vectors

# What must be as it was for a resumed run to be the same run. Epochs, steps and learning rate may change.
_SAME = ("data", "model", "loss", "optimizer", "averaging", "partition", "concentration", "batch_size", "seed",
         *sorted({name for settings in WAY_SETTINGS.values() for name in settings}))


def save(prepared: Prepared, position: Position, folder: Path, keep: int) -> None:
    """Write a checkpoint of settled ranks and delete all but the newest `keep` (every rank calls it)."""
    collectives, world = prepared.collectives, prepared.collectives.world
    loss_sum = float(collectives.sum(np.array([position.loss_sum])).numpy()[0])
    shared, own = _values(prepared.way.shared_vectors()), _values(prepared.way.own_vectors())
    final = folder / f"step-{position.step:08d}"
    partial = folder / f"{final.name}.partial"
    if world.is_root:
        for left_over in folder.glob("*.partial"):  # of a writer that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        partial.mkdir(parents=True)
        write_json(partial / "manifest.json", {
            "ranks": world.size, "files": write_vectors(partial, "", shared), "own": bool(own),
            "position": dataclasses.asdict(dataclasses.replace(position, loss_sum=loss_sum)),
            "settings": {name: getattr(prepared.settings, name) for name in _SAME},
        })
    if own:
        collectives.barrier()  # the folder is there
        prefix = _own_prefix(world.rank)
        write_json(partial / f"{prefix}json", write_vectors(partial, prefix, own))
        collectives.barrier()  # every rank's files are there
    if world.is_root:
        _put_in_place(partial, final, keep)


def _put_in_place(partial: Path, final: Path, keep: int) -> None:
    sync_folder(partial)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    sync_folder(final.parent)
    for old in checkpoints(final.parent)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, the newest first."""
    return sorted((path for path in folder.glob("step-*") if path.suffix != ".partial"), reverse=True)


def restore_newest(prepared: Prepared, folder: Path) -> tuple[Position, list[str]]:
    """Go back to the newest checkpoint that is good on every rank (every rank calls it).

    Returns the position, the run's beginning where there is no good checkpoint, and a sentence about each bad one.

    Raises:
        Refused: the checkpoint is of a run with other settings or another number of ranks.
    """
    collectives, bad = prepared.collectives, []
    names = [path.name for path in checkpoints(folder)] if collectives.world.is_root else []
    for name in filter(None, broadcast_text(collectives, " ".join(names[:100])).split(" ")):
        manifest, vectors, fault = _read(prepared, folder / name)
        if collectives.maximum(np.array([fault is not None], np.int32)).numpy()[0]:
            bad.append(fault or f"{folder / name} is not whole on another rank")
            continue
        _assign(prepared, vectors)
        position = Position(**manifest["position"])
        # the loss summed over all ranks so far is the root's to carry on
        return position if collectives.world.is_root else dataclasses.replace(position, loss_sum=0.0), bad
    return Position(), bad


def _read(prepared: Prepared, path: Path) -> tuple[dict, dict[str, np.ndarray], str | None]:
    """The manifest, and what this rank has to read: the root the shared vectors, every rank its own.

    The third is what is wrong with the files, or None. Settings that differ are refused at once, on every rank.
    """
    collectives, world = prepared.collectives, prepared.collectives.world
    manifest, vectors, fault = {}, {}, None
    try:
        manifest = read_json(path / "manifest.json")
    except BadFile as error:
        fault = str(error)
    together(collectives, lambda: fault or _check_same_run(prepared, manifest, path))
    try:
        if world.is_root and not fault:
            vectors.update(read_vectors(path, "", manifest["files"]))
        if manifest.get("own"):
            prefix = _own_prefix(world.rank)
            vectors.update(read_vectors(path, prefix, read_json(path / f"{prefix}json")))
    except BadFile as error:
        fault = str(error)
    return manifest, vectors, fault


def _check_same_run(prepared: Prepared, manifest: dict, path: Path) -> None:
    ranks = prepared.collectives.world.size
    if manifest["ranks"] != ranks:
        raise Refused(f"{path} was written by {manifest['ranks']} ranks and this job has {ranks}: start "
                      f"{manifest['ranks']} ranks, or another --run-dir")
    for name, was in manifest["settings"].items():
        now = getattr(prepared.settings, name, None)
        if now != was:
            raise Refused(f"{path} is of a run with {name}={was!r}, but now {name}={now!r}: go on with the same, or "
                          "use another --run-dir")


def _assign(prepared: Prepared, vectors: dict[str, np.ndarray]) -> None:
    """Put the vectors into the replica, the shared ones from the root to all ranks."""
    for name, variable in prepared.way.own_vectors().items():
        variable.assign(vectors[name])
    for name, variable in prepared.way.shared_vectors().items():
        flat = vectors[name].ravel() if prepared.collectives.world.is_root else np.ravel(variable.numpy())
        if flat.size:
            variable.assign(prepared.collectives.broadcast(flat).numpy().reshape(variable.shape))


def _values(variables: dict) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in variables.items()}


def _own_prefix(rank: int) -> str:
    return f"rank-{rank:05d}."
