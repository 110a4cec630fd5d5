"""One job writes into a run folder: a lock that needs no server, and a fence for a job that has lost it.

The lock is a file that is made exclusively, which every shared file system can do. Its holder moves a counter in it every
few seconds. Whoever finds it looks at the counter for a while: where it moves, the holder lives, and the newcomer is
refused; where it stands still for long, the holder is taken for dead and its file is moved away. No clock of one host is ever
compared with that of another. On the same machine a process that is gone is known at once.

A holder that only slept, on a node that was cut off or in a process that was stopped, finds another's lock when it wakes, and
writes nothing more. A requeued job has no shorter way in than others, though its number is that of the holder: Slurm requeues
a job whose node it cannot reach, and there the first start may live on.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from hvd_ae.errors import NotWritten, Refused
from hvd_ae.runtime.log import log

_LOOK_EVERY = 0.2
_JOB_NUMBERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "JOB_ID")


class Lock:
    """The lock of one run folder, for one process; `check` before each write."""

    refresh_every = 5.0  # seconds after which the holder moves the counter
    # seconds for which it stands still in the lock of one that is taken for dead: nine times as many, since a busy file server
    # must not cost a run; and fewer than the 60 after which Horovod says of the other ranks that they wait
    stale_after = 45.0

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / "lock"
        self._token = uuid.uuid4().hex
        self._descriptor: int | None = None
        self._over = threading.Event()
        # a daemon: a file server that never answers must not keep a process from its end
        self._thread = threading.Thread(target=self._refresh, name="lock", daemon=True)

    def acquire(self) -> None:
        """Take the lock, from a holder that is dead too, which takes a while to be sure of.

        Raises:
            Refused: a job that lives holds it.
            OSError: the folder cannot be written.
        """
        while not self._made():
            found = _content(self._path)
            if found is None:
                continue  # released just now
            if (now := self._moved(found)) is not None:
                raise Refused(f"run_dir={str(self._folder)!r} is being written by {_named(now)}: wait for its end, or use "
                              "another --run-dir")
            self._move_away(found)
        self._thread.start()

    def check(self) -> None:
        """Nothing may be written by a job whose lock is another's.

        Raises:
            NotWritten: it is, and this job has to end.
        """
        try:
            content = _content(self._path)
        except OSError:
            return  # the file system is out of order, as the write itself will find
        if content is not None and self._token.encode() in content:
            return
        taken = f"was taken over by {_named(content)}" if content is not None else "has lost its lock"
        raise NotWritten(f"run_dir={str(self._folder)!r} {taken} while this job gave no sign of life: this one writes nothing "
                         "more; go on with --resume where no other job does")

    def release(self) -> None:
        """Give the lock back; nothing happens where it is another's, or was never taken."""
        if self._descriptor is None:
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(self.refresh_every)
        with contextlib.suppress(OSError):
            if self._token.encode() in (_content(self._path) or b""):
                self._path.unlink()
            os.close(self._descriptor)
        self._descriptor = None

    def _made(self) -> bool:
        """Make the file; False where there is one."""
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            return False
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "job": _job(), "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                  "process": _process(os.getpid()), "token": self._token}
        try:
            os.write(descriptor, _counter(0) + json.dumps(holder).encode() + b"\n")
            os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            raise
        self._descriptor = descriptor
        return True

    def _refresh(self) -> None:
        count = 0
        while not self._over.wait(self.refresh_every):
            count += 1
            with contextlib.suppress(OSError):  # others will see it stand still
                os.pwrite(self._descriptor, _counter(count), 0)
                os.fsync(self._descriptor)

    def _moved(self, found: bytes) -> bytes | None:
        """What is in the lock after a change, which shows that its holder lives; None where it is dead, or has released it."""
        if _is_gone(found):
            return None
        log.info(f"run_dir={str(self._folder)!r} is locked by {_named(found)}: looking for up to {self.stale_after:g} s "
                 "whether it lives")
        deadline = time.monotonic() + self.stale_after
        while time.monotonic() < deadline and not _is_gone(found):
            time.sleep(_LOOK_EVERY)
            now = _content(self._path)
            if now != found:
                return now
        return None

    def _move_away(self, found: bytes) -> None:
        """Make room where `found` was; where another was as quick and it is its lock already, put that back."""
        moved = self._path.with_name(f"lock.{self._token}")
        if _content(self._path) != found:
            return
        try:
            os.rename(self._path, moved)
        except FileNotFoundError:
            return
        if _content(moved) != found:
            with contextlib.suppress(OSError):  # a third has come: the second finds out by `check`
                os.link(moved, self._path)
        moved.unlink()


def _content(path: Path) -> bytes | None:
    """Read anew from the server, as network file systems do at each opening; None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _counter(count: int) -> bytes:
    """Of fixed length, so that it can be overwritten in its place."""
    return b"%012d\n" % count


def _holder(content: bytes) -> dict:
    """What the lock says of its holder; nothing where it is just being made."""
    try:
        holder = json.loads(content.partition(b"\n")[2])
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _named(content: bytes) -> str:
    holder = _holder(content)
    job = f"job {holder['job']}, " if holder.get("job") else ""
    return f"{job}process {holder['pid']} on {holder['host']} since {holder['since']}" if "pid" in holder else "another job"


def _job() -> str | None:
    return next((os.environ[name] for name in _JOB_NUMBERS if os.environ.get(name)), None)


def _process(pid: int) -> list[str] | None:
    """What tells this process from every other: the start of the machine, the processes it sees, and its own start.

    None where the system does not say so, or the process is gone.
    """
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else [machine, os.readlink("/proc/self/ns/pid"), rest[18]]
    except OSError:
        return None


def _is_gone(content: bytes) -> bool:
    """Whether the holder was a process of this machine, and is none any more."""
    holder = _holder(content)
    was, here = holder.get("process"), _process(os.getpid())
    return bool(was and here and was[:2] == here[:2] and _process(holder["pid"]) != was)
