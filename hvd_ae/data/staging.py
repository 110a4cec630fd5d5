"""Copies of data on each node's own disk, made by the ranks of the node together, and removed at the end."""

import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.open import files_of, path_and_member
from hvd_ae.errors import Refused
from hvd_ae.runtime.consensus import broadcast_text, run_on_all
from hvd_ae.runtime.log import log
from hvd_ae.runtime.world import World
from hvd_ae.settings.units import bytes_as_text

_PIECE = 64 << 20  # bytes that a rank copies at a time


@contextmanager
def staged(data: Sequence[str | None], folder: str | None, comm: Communicator) -> Iterator[list[str | None]]:
    """What `data` name, as it is to be read while the context lasts: from copies in `folder`, where one is given.

    Every rank enters it; None among `data` stays None. The copies of a job have a folder of their own, which the first rank
    of each node removes at the end; after a rank was killed they stay, and are whoever's who made `folder` for the job.

    Raises:
        Refused: on every rank, where a file cannot be copied, or a node's disk has too little room.
    """
    if folder is None:
        yield list(data)
        return
    world = comm.world
    own = Path(folder) / f"hvd_ae-{broadcast_text(comm, uuid.uuid4().hex[:16])}"  # other jobs may stage here too
    files = run_on_all(comm, lambda: _pairs(data, own), name_rank=True)
    try:
        run_on_all(comm, lambda: world.local_rank == 0 and _make_room(files, own), name_rank=True)
        if world.is_root:
            log.info(f"staging {bytes_as_text(_bytes(files))} on each node, in {own}")
        with comm.busy("staging data"):
            run_on_all(comm, lambda: _copy_pieces(files, world), name_rank=True)
        run_on_all(comm, lambda: _check_sizes(files), name_rank=True)
        yield [text and _within(text, own / str(number)) for number, text in enumerate(data)]
    finally:
        if world.local_rank == 0:
            shutil.rmtree(own, ignore_errors=True)


def _pairs(data: Sequence[str | None], own: Path) -> list[tuple[Path, Path]]:
    """Each file and its copy; a store that is a folder counts as its files.

    Raises:
        Refused: a file is missing.
    """
    pairs = []
    for number, text in enumerate(data):
        for path in files_of(text) if text else ():
            found = sorted(path.rglob("*")) if path.is_dir() else [path]
            pairs += [(each, own / str(number) / Path(os.path.abspath(each)).relative_to(_base(text)))
                      for each in found if each.is_file()]
    if not pairs:
        raise Refused(f"stage={str(own.parent)!r}: there is no file to copy for data={data[0]!r}: a data set that is computed "
                      "needs no --stage; for a path, check it")
    return pairs


def _base(text: str) -> Path:
    """The longest folder without a pattern that all files of `--data` lie in."""
    fixed = []
    for part in _parts(text):
        path = path_and_member(part)[0]
        folder = path.parent
        while glob.has_magic(str(folder)):
            folder = folder.parent
        fixed.append(os.path.abspath(folder))
    return Path(os.path.commonpath(fixed))


def _parts(text: str) -> list[str]:
    return [text] if Path(text).exists() else [part for part in text.split(",") if part]


def _within(text: str, copies: Path) -> str:
    """What to give `--data` for the copies."""
    return ",".join(str(copies / Path(os.path.abspath(part)).relative_to(_base(text))) for part in _parts(text))


def _make_room(files: list[tuple[Path, Path]], own: Path) -> None:
    """Folders, and files of their length, so that ranks can write into them.

    Raises:
        Refused: the disk has too little room, or cannot be written.
    """
    try:
        own.mkdir(parents=True, mode=0o700)
        needed, free = _bytes(files), shutil.disk_usage(own).free
        if needed > free:
            raise Refused(f"stage={str(own.parent)!r} has room for {bytes_as_text(free)}, and the data have "
                          f"{bytes_as_text(needed)}: name a larger disk, or drop --stage")
        for source, copy in files:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with open(copy, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size) if (size := source.stat().st_size) else None
    except OSError as error:
        raise Refused(f"stage={str(own.parent)!r} cannot be written ({error.strerror}): name a folder on each node's own "
                      "disk") from None


def _copy_pieces(files: list[tuple[Path, Path]], world: World) -> None:
    """Every piece is copied by one of the node's ranks, in turn."""
    turn = 0
    for source, copy in files:
        try:
            with open(source, "rb") as given, open(copy, "r+b") as taken:
                for first in range(0, os.fstat(given.fileno()).st_size, _PIECE):
                    if turn % world.local_size == world.local_rank:
                        given.seek(first)
                        taken.seek(first)
                        taken.write(given.read(_PIECE))
                    turn += 1
        except OSError as error:
            raise Refused(f"{source} cannot be copied to {copy} ({error.strerror}): look at both disks, or drop "
                          "--stage") from None


def _check_sizes(files: list[tuple[Path, Path]]) -> None:
    for source, copy in files:
        if source.stat().st_size != copy.stat().st_size:
            raise Refused(f"{source} has changed while it was copied to {copy}: start again, with files that stay as they are")


def _bytes(files: list[tuple[Path, Path]]) -> int:
    return sum(source.stat().st_size for source, _ in files)
