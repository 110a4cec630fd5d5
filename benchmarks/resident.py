"""The resident memory of a job's ranks, looked at from outside while it runs."""

import contextlib
import threading

import psutil

_LOOK_EVERY = 0.1  # seconds; the peak is kept by the kernel, so that one late look is enough for it
_FIND_EVERY = 10  # looks between searches for ranks that have come or gone
_FIELDS = {"VmHWM": "peak", "RssAnon": "anonymous", "RssFile": "file"}


class Watch:
    """Looks at the ranks below a process, in a thread of its own, until it is stopped.

    `seen` is by rank, in bytes: the peak of the resident size, and the most seen of its parts, anonymous (what a rank
    has allocated) and file (pages of libraries and of memory-mapped data, which the kernel takes back when it needs them).
    """

    def __init__(self, process: int):
        self.seen: dict[int, dict[str, int]] = {}
        self._process, self._over = process, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        looks, ranks = 0, {}
        while not self._over.wait(_LOOK_EVERY):
            if looks % _FIND_EVERY == 0:
                ranks = ranks_below(self._process)
            looks += 1
            for process, rank in ranks.items():
                most = self.seen.setdefault(rank, dict.fromkeys(_FIELDS.values(), 0))
                for name, size in memory_of(process).items():
                    most[name] = max(most[name], size)


def ranks_below(root: int) -> dict[int, int]:
    """Ranks by process: the first process below `root` for each PMI_RANK; `root` itself as rank 0 where there is none."""
    ranks: dict[int, int] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(root).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                rank = process.environ().get("PMI_RANK")
                if rank is not None and int(rank) not in ranks.values():
                    ranks[process.pid] = int(rank)
    return ranks or {root: 0}


def memory_of(process: int) -> dict[str, int]:
    """Bytes, as the kernel says them now; nothing where the process has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {_FIELDS[words[0][:-1]]: int(words[1]) * 1024 for words in lines if words and words[0][:-1] in _FIELDS}
