"""`python -m benchmarks NAME [--short]`: measure and append rows to results/, or make tables and pictures of them."""

import importlib
import os
import signal
import sys

import tyro

from benchmarks import rows

# in the order in which `make bench` runs them
NAMES = ("allreduce", "step", "peers", "scaling", "network", "startup", "memory", "p1b1", "plan", "report")
_MODULES = {"peers": "peers.side_by_side"}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        print(f"benchmarks: {name!r} is not known: use one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what was set up is taken down
    benchmark = importlib.import_module(f"benchmarks.{_MODULES.get(name, name)}")
    rows.provenance()  # now, since load and commit may change meanwhile
    return tyro.cli(benchmark.main, prog=f"python -m benchmarks {name}", args=sys.argv[2:],
                    config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    sys.exit(main())
