"""How much memory this process has taken, and how much it may still take on its node."""

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """What the system has to give, or less where a job's or container's limit (cgroup v2) is nearer."""
    available = psutil.virtual_memory().available
    limit, used = (_number(name) for name in ("memory.max", "memory.current"))
    return available if limit is None or used is None else max(0, min(available, limit - used))


def peak_bytes() -> int | None:
    """The most memory that this process has held so far; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


def _number(name: str) -> int | None:
    """Of the innermost cgroup of this process that says a number."""
    try:
        path = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("::")[2].strip().lstrip("/")
    except OSError:
        return None
    for folder in (_CGROUP / path, *(_CGROUP / path).parents):
        try:
            return int((folder / name).read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
