"""Two hosts on one machine: network namespaces joined by a link whose rate is held. Needs root and iproute2."""

import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.jobs import BIN, JobFailed

_NETWORK = "10.213.77"
# Otherwise the ranks find each other's memory, and the link is never used.
ENVIRONMENT = {"UCX_TLS": "tcp,self"}


class Link:
    """Two namespaces and the ends of the cable between them."""

    def __init__(self, folder: Path):
        self.hosts = [f"hvdae{os.getpid()}{end}" for end in "ab"]
        self._cables = [f"{host}-0" for host in self.hosts]
        self._script = folder / "enter-host"

    def set_up(self) -> None:
        _run("ip", "link", "add", self._cables[0], "type", "veth", "peer", "name", self._cables[1])
        for number, (host, cable) in enumerate(zip(self.hosts, self._cables), start=1):
            _run("ip", "netns", "add", host)
            _run("ip", "link", "set", cable, "netns", host)
            self._in(host, "ip", "address", "add", f"{_NETWORK}.{number}/24", "dev", cable)
            self._in(host, "ip", "link", "set", cable, "up")
            self._in(host, "ip", "link", "set", "lo", "up")
            names = Path("/etc/netns") / host / "hosts"
            names.parent.mkdir(parents=True, exist_ok=True)
            names.write_text("127.0.0.1 localhost\n" + "".join(
                f"{_NETWORK}.{other} {name}\n" for other, name in enumerate(self.hosts, start=1)))
        # what mpirun calls instead of ssh: a host and a command
        self._script.write_text(textwrap.dedent("""\
            #!/bin/sh
            while [ "${1#-}" != "$1" ]; do shift; done
            host=$1; shift
            exec ip netns exec "$host" /bin/sh -c "$*"
            """))
        self._script.chmod(0o755)

    def hold(self, bits_per_second: int | None) -> None:
        """Let no more than this through, each way; None is as fast as the machine can."""
        for host, cable in zip(self.hosts, self._cables):
            subprocess.run(["ip", "netns", "exec", host, "tc", "qdisc", "del", "dev", cable, "root"], capture_output=True,
                           check=False)  # there may be none
            if bits_per_second:
                self._in(host, "tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate", f"{bits_per_second}bit",
                         "burst", "256kb", "latency", "50ms")

    def mpirun(self, ranks: int, *command: str) -> list[str]:
        """A command on ranks spread over both hosts."""
        first, _ = self.hosts
        return ["ip", "netns", "exec", first, str(BIN / "mpirun"), "-launcher", "ssh", "-launcher-exec", str(self._script),
                "-hosts", ",".join(self.hosts), "-np", str(ranks), "-ppn", str(ranks // 2), *command]

    def take_down(self) -> None:
        """Remove whatever there is of it; the cable goes with its ends' namespaces."""
        for host in self.hosts:
            subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns") / host, ignore_errors=True)
        subprocess.run(["ip", "link", "delete", self._cables[0]], capture_output=True, check=False)

    def _in(self, host: str, *command: str) -> None:
        _run("ip", "netns", "exec", host, *command)


@contextmanager
def two_hosts(folder: Path) -> Iterator[Link]:
    """The hosts, for as long as the context lasts, however it is left.

    Raises:
        JobFailed: it needs root, iproute2, and a kernel that allows it.
    """
    if os.geteuid() != 0:
        raise JobFailed("network namespaces need root: run it as root, or in a container that is")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            raise JobFailed(f"{tool!r} is not installed: it comes with iproute2")
    link = Link(folder)
    try:
        link.set_up()
        yield link
    finally:
        link.take_down()


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stderr.strip() or f"status {ended.returncode}").splitlines()[-1]
        raise JobFailed(f"{' '.join(command)}: {said}")
