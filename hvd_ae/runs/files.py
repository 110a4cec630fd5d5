"""Files that are whole or as they were: written beside and renamed at the end, and a full disk is one sentence."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvd_ae.errors import NotWritten


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to; at the end of the context, what was written there is on the disk and has the name `path`.

    Until then `path` is as it was, and it stays so where the context ends with an exception or with the process. The path
    lies in a folder of its own beside `path`, with the same file name, because some writers go by its ending, and no
    pattern such as `*.npy` finds it there. A later writer of the same `path` removes the folders of earlier ones: it may
    be killed itself, but no file is ever of two writers.

    Raises:
        NotWritten: an OSError in the context, or at its end.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe, such as /dev/stdout, has nothing to lose
        with _in_one_sentence(path):
            yield Path(path)
        return
    target = Path(os.path.realpath(path))  # through a link, as one would write to it
    with _in_one_sentence(path):
        for left_over in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
            shutil.rmtree(left_over, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            yield folder / target.name
            if not folder.exists():
                raise FileExistsError(0, "another job is writing it too")
            _to_disk(folder / target.name)
            os.replace(folder / target.name, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """The text as UTF-8, whole or not at all.

    Raises:
        NotWritten: the file is as it was.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """One more line, whole or not at all, unless the machine itself stops meanwhile.

    Raises:
        NotWritten: the file is as it was.
    """
    with _in_one_sentence(path), open(path, "ab", buffering=0) as file:
        end, left = file.seek(0, os.SEEK_END), memoryview(f"{line}\n".encode())
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(end)
            raise


@contextmanager
def _in_one_sentence(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        failure = NotWritten(f"{path} cannot be written ({error.strerror or error}): make room, or name another place; what "
                             "was there before is as it was")
        failure.raised_on_all_ranks = False  # others know nothing of this rank's file
        raise failure from None


def _to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
