"""What every format that is written gives; stretches of it are written by any rank at any time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hvd_ae.commands.convert.layout import Layout


class Writer(ABC):
    """A file or folder of one format, in a folder of its own until it is whole.

    pieces: of about 16 MB, that are written at a time.
    is_compressed: whether it may need less room than its values.

    Args:
        folder: where it is written.
        name: what it will be called.
        about: what is known of it before it is written, for whoever finds it; None where nothing is to be noted.
    """

    pieces = 1
    is_compressed = False

    def __init__(self, folder: Path, name: str, layout: Layout, about: Mapping[str, object] | None):
        self.folder, self.path, self.layout = folder, folder / name, layout
        self.about = None if about is None else dict(about)

    @property
    def rows(self) -> int:
        """Samples of a stretch."""
        return self.layout.rows_of(self.pieces)

    @property
    def names(self) -> list[str]:
        """What is made in the folder, in the order in which it gets its place; the last is what the user named."""
        return [self.path.name]

    @property
    def reserved(self) -> list[str]:
        """What must not be there already."""
        return self.names

    @abstractmethod
    def begin(self) -> None:
        """Make what stretches are written into; over anything that an earlier start has left (the root calls it)."""

    def open(self) -> None:
        """Get ready to write into what the root has made (every rank calls it)."""

    @abstractmethod
    def write(self, first: int, values: Mapping[str, np.ndarray]) -> None:
        """Put the stretch that begins with this sample in its place; it is on the disk when this returns."""

    @abstractmethod
    def end(self, found: Mapping[str, object]) -> None:
        """Note what is known of it at the end beside `about`; may be called again by a later start (the root calls it).

        Args:
            found: its `checksum` and, by field, the `statistics` of its numbers; not looked at where `about` is None.
        """

    @abstractmethod
    def how_to_read(self, destination: str) -> str:
        """The flags that read it."""

    def _beside(self, names: Mapping[str, str]) -> str:
        """Flags for the fields beside the samples, by what holds each."""
        return "".join(f" --{field} {names[field]}" for field in ("labels", "targets", "condition") if field in names)
