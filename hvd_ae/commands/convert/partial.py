"""`DEST.partial/`: what is written before it is whole, and the notes by which a later start goes on (all of it the root's)."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hvd_ae.commands.convert.writer import Writer
from hvd_ae.errors import Refused
from hvd_ae.runs.files import append_line, write_atomically
from hvd_ae.runs.lock import Lock
from hvd_ae.settings.units import bytes_as_text


def folder_of(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.partial")


class Partial:
    """The folder, claimed for this job.

    Args:
        identity: what a later start must have the same of, by the word for it; plain values.
        needed: bytes that will be written at least.
        window: of the order, which a later start takes over.
        replaces: whether a destination that is there is replaced at the end, and what was begun with something else is
            begun anew; both are refused otherwise.

    Raises:
        Refused: the destination is there already, there is not enough room, another job is writing it, or one was begun with
            something else.
    """

    def __init__(self, destination: Path, writer: Writer, identity: Mapping[str, object], needed: int, window: int | None,
                 replaces: bool = False):
        self.destination, self.folder, self._writer = destination, folder_of(destination), writer
        self._begun, self._done = self.folder / "begun.json", self.folder / "done.txt"
        self._replaces, self._is_finished = replaces, False
        if not replaces:
            self._check_absent()
        try:
            self._check_room(needed)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.folder)
            self._claim()
            self.noted, self.window = self._go_on(dict(identity), window)
        except OSError as error:
            if not self._begun.exists():
                self._drop()
            raise Refused(f"{destination} cannot be written ({error.strerror or error}): name another place") from None

    @property
    def pieces(self) -> list[str]:
        """What was noted of each piece, in their order."""
        return [piece for stretch in self.noted for piece in stretch]

    def note(self, stretches: list[list[str]]) -> None:
        """Of stretches that are on the disk, in their order, what is noted of each one's pieces.

        Raises:
            NotWritten: no room, or the folder is another job's by now.
        """
        self._lock.check()
        self.noted += stretches
        append_line(self._done, "\n".join(" ".join(each) for each in stretches))

    def finish(self) -> None:
        """Give everything its name; the destination's last, so that it is whole where it is seen."""
        for name in self._writer.names:
            if (self.folder / name).exists():  # else an earlier start was killed after this
                if self._replaces and (self.folder / name).is_dir():
                    shutil.rmtree(self.destination.with_name(name), ignore_errors=True)
                os.rename(self.folder / name, self.destination.with_name(name))
        self._is_finished = True

    def release(self) -> None:
        self._lock.release()
        if self._is_finished:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _drop(self) -> None:
        """Leave nothing of what could not be begun."""
        if hasattr(self, "_lock"):
            self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_absent(self) -> None:
        for name in reversed(self._writer.reserved):
            path = self.destination.with_name(name)
            was_moved = name in self._writer.names[:-1] and self._begun.exists() and not (self.folder / name).exists()
            if os.path.lexists(path) and not was_moved:
                raise Refused(f"{path} is there already: remove it, or name another destination")

    def _check_room(self, needed: int) -> None:
        above = next(path for path in self.folder.absolute().parents if path.exists())
        written = sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())
        free = shutil.disk_usage(above).free
        if needed > free + written:
            raise Refused(f"{self.destination} needs {bytes_as_text(needed - written)}, and {above} has {bytes_as_text(free)} "
                          "left: make room, or name another place")

    def _claim(self) -> None:
        try:
            self._lock.acquire()
        except Refused as refusal:
            holder = str(refusal).partition("is being written by ")[2].partition(": wait")[0]
            raise Refused(f"{self.destination} is being written by {holder or 'another job'}: wait for its end, or name "
                          "another destination") from None

    def _begun_with(self) -> object:
        try:
            return json.loads(self._begun.read_text(encoding="utf-8")).get("identity")
        except (ValueError, AttributeError):
            return None

    def _go_on(self, identity: dict, window: int | None) -> tuple[list[list[str]], int | None]:
        """What was noted of all stretches that are written already, and the window; from nothing where there is no note."""
        identity = json.loads(json.dumps(identity))
        was_moved = not all((self.folder / name).exists() for name in self._writer.names)  # by a start killed right after
        if not self._begun.exists() or (self._replaces and (was_moved or self._begun_with() != identity)):
            self._done.unlink(missing_ok=True)
            self._writer.begin()
            write_atomically(self._begun, json.dumps({"identity": identity, "window": window}, indent=1))
            return [], window
        begun = json.loads(self._begun.read_text(encoding="utf-8"))
        for word in sorted({*identity, *begun["identity"]}):
            was, now = begun["identity"].get(word), identity.get(word)
            if was != now:
                self._lock.release()
                raise Refused(f"{self.folder} was begun with {word} {was!r}, where it is {now!r} now: start with the same "
                              "again, or remove that folder")
        lines = self._done.read_text(encoding="ascii").splitlines() if self._done.exists() else []
        return [line.split() for line in lines], begun["window"]
