"""Going on from a checkpoint: exactly where as many ranks wrote it, and without losing a sample where others did."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hvd_ae.collectives.agree import broadcast_text, first_of, together
from hvd_ae.data.sources import fingerprint
from hvd_ae.errors import Refused
from hvd_ae.training.checkpoint import FORMAT, checkpoints, own_prefix
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import Prepared, take_from_root, updates_per_epoch
from hvd_ae.training.vector_files import BadFile, read_json, read_vectors


@dataclasses.dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    position: Position  # the run's beginning where there is no good checkpoint
    ranks: int  # that wrote the checkpoint
    bad: list[str]  # a sentence about each newer checkpoint that could not be used


def restore_newest(prepared: Prepared, folder: Path) -> Resumed:
    """Go back to the newest checkpoint that is good on every rank (every rank calls it).

    Raises:
        Refused: the checkpoint is of a run with other settings or other data.
    """
    collectives, bad = prepared.collectives, []
    names = [path.name for path in checkpoints(folder)] if collectives.world.is_root else []
    for name in filter(None, broadcast_text(collectives, " ".join(names[:100])).split(" ")):
        read, fault = _tried(collectives, lambda path=folder / name: _Checkpoint(prepared, path))
        if fault:
            bad.append(fault)
            continue
        together(collectives, read.check_same_run)
        vectors, fault = _tried(collectives, read.vectors)
        if fault:
            bad.append(fault)
            continue
        _assign(prepared, read, *vectors)
        return Resumed(read.position, read.ranks, bad)
    return Resumed(Position(), collectives.world.size, bad)


def _tried(collectives, read) -> tuple[object, str | None]:
    """What `read` returns, and None; or what is wrong with the files of any rank."""
    result, fault = None, None
    try:
        result = read()
    except BadFile as error:
        fault = str(error)
    return result, first_of(collectives, fault)


class _Checkpoint:
    """One checkpoint as this rank sees it.

    Raises:
        BadFile: its manifest, or this rank's list of files, cannot be used.
    """

    def __init__(self, prepared: Prepared, path: Path):
        self._prepared, self._path = prepared, path
        self._world, self._settings = prepared.collectives.world, prepared.settings
        self._manifest = manifest = read_json(path / "manifest.json")
        if manifest.get("format") != FORMAT:
            raise BadFile(f"{path} was written by another version of hvd_ae")
        self.ranks = manifest["ranks"]
        self.is_exact = self.ranks == self._world.size
        self._own_files = read_json(path / f"{own_prefix(self._world.rank)}json") if self._has_own and self.is_exact else {}

    @property
    def _has_own(self) -> bool:
        return self._manifest["of_ranks"]

    @property
    def position(self) -> Position:
        """With this rank's part of the epoch's loss: its own, or the root that of all."""
        position = Position.from_table(self._manifest["position"])
        if self._own_files:
            position = dataclasses.replace(position, loss_sum=self._own_files["loss_sum"])
        elif not self._world.is_root:
            position = dataclasses.replace(position, loss_sum=0.0)
        if (self._manifest["trainers"], self._manifest["batch_size"]) == (
                self._prepared.trainers.size, self._settings.batch_size):
            return position
        return position.handed_on(self._manifest["trainers"], self._manifest["batch_size"])

    def check_same_run(self) -> None:
        for name, was in self._manifest["settings"].items():
            now = getattr(self._settings, name, None)
            if now != was:
                raise Refused(f"{self._path} is of a run with {name}={was!r}, but now {name}={now!r}: go on with the "
                              "same, or use another --run-dir")
        if self._manifest["data_fingerprint"] != fingerprint(self._prepared.source).tolist():
            raise Refused(f"{self._path} is of a run on other data (then data={self._manifest['data']!r}, now "
                          f"data={self._settings.data!r}): go on with the same, or use another --run-dir")

    def vectors(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What the root has to tell all ranks, and what is this rank's own.

        Raises:
            BadFile: naming the file.
        """
        shared = read_vectors(self._path, "", self._manifest["files"]) if self._world.is_root else {}
        if not self._has_own:
            return shared, {}
        if not self.is_exact:
            way, written = self._prepared.way, read_json(self._path / f"{own_prefix(0)}json")["own"]
            return shared, {name: way.handed_on(name, self._of_ranks(name), self._world)
                            for name in way.own_vectors() if name in written}
        prefix = own_prefix(self._world.rank)
        return shared, {**read_vectors(self._path, prefix, self._own_files["own"]),
                        **read_vectors(self._path, f"{prefix}exact.", self._own_files["exact"])}

    def _of_ranks(self, name: str) -> Iterator[np.ndarray]:
        """A vector of each of the ranks that wrote the checkpoint, in their order."""
        for rank in range(self.ranks):
            files = read_json(self._path / f"{own_prefix(rank)}json")["own"]
            yield read_vectors(self._path, own_prefix(rank), {name: files[name]})[name]


def _assign(prepared: Prepared, checkpoint: _Checkpoint, shared: dict, own: dict) -> None:
    """Put the vectors into the replica, the shared ones from the root to all ranks."""
    collectives, way = prepared.collectives, prepared.way
    for name, variable in way.shared_vectors().items():
        if name in shared:  # only the root has any, and a warm-up's count may be new
            variable.assign(shared[name])
    take_from_root(list(way.shared_vectors().values()), collectives)
    for name, value in own.items():
        if value is not None and name in way.state:
            way.state[name].assign(value)
    if not checkpoint.is_exact and (shift := prepared.replica.rate_shift) is not None:
        position, train = checkpoint.position, prepared.source.train.count
        updates = updates_per_epoch(prepared.settings, train, collectives.world)
        shift.assign(round((position.epoch + position.epoch_samples / train) * updates) - prepared.replica.updates)
