"""Compressed text as a plain file of this node, for formats that must find a place in the middle of it."""

import fcntl
import gzip
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

from hvd_ae.data.formats.csv_lines import announced
from hvd_ae.data.source import stamp
from hvd_ae.errors import Refused
from hvd_ae.runtime.log import log


def unpacked(path: Path, name: str) -> Path:
    """The content of a `.gz` file, in a file in the system's temporary folder ($TMPDIR).

    The ranks of a node share it: the first writes, the others wait. It is named after the packed file's path, size and time,
    and left there for the next run.

    Raises:
        Refused: the file is damaged, or there is no room.
    """
    size, changed, _ = stamp(path)
    key = hashlib.sha256(f"{path.resolve()}\n{size}\n{changed}".encode()).hexdigest()[:32]
    folder = _own_folder(name)
    plain = folder / f"{key}-{path.stem[-60:]}"
    with open(folder / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go as the file is closed, however this ends
        if not plain.exists():
            _unpack(path, plain, name)
    return plain


def _unpack(path: Path, plain: Path, name: str) -> None:
    partial = plain.with_name(f"{plain.name}.partial")
    log.info("data=%r is unpacked into %s, since lines within a packed file cannot be found; it stays there for the next run",
             name, plain)
    try:
        with open(path, "rb") as packed, gzip.open(packed) as content, open(partial, "wb") as file:
            for piece in announced(content, path.stat().st_size, f"data={name!r}: unpacking", packed):
                file.write(piece)
        os.replace(partial, plain)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused(f"data={name!r} is no whole .gz file ({error}): copy or write it anew") from None
    except OSError as error:
        raise Refused(f"data={name!r} cannot be unpacked into {plain.parent} ({error.strerror}): make room there, or name "
                      "another folder in TMPDIR") from None
    finally:
        partial.unlink(missing_ok=True)


def _own_folder(name: str) -> Path:
    """A folder that nobody else can put files into: names in the temporary folder can be guessed."""
    folder = Path(tempfile.gettempdir()) / f"hvd_ae-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Refused(f"data={name!r} would be unpacked into {folder}, which others can write to or own: remove it, or name "
                      "another folder in TMPDIR")
    return folder
