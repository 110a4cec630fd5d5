"""`python -m benchmarks NAME [--short]`: measure and append rows to results/, or make tables and pictures of them."""

import importlib
import os
import signal
import sys
from typing import get_type_hints

from benchmarks import rows
from hvd_ae.errors import Refused
from hvd_ae.settings.parser import parse

# in the order in which `make bench` runs them
NAMES = ("allreduce", "step", "peers", "scaling", "network", "startup", "memory", "input", "p1b1", "plan", "report")
# the first needs PyOD and an hour, the second chose defaults once, the third is of what comes after training
BY_HAND = ("anomaly", "detector_defaults", "encode")
_MODULES = {"peers": "peers.side_by_side"}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES + BY_HAND:
        print(f"benchmarks: {name!r} is not known: use one of {', '.join(NAMES + BY_HAND)}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that what was set up is taken down
    benchmark = importlib.import_module(f"benchmarks.{_MODULES.get(name, name)}")
    rows.provenance()  # now, since load and commit may change meanwhile
    try:
        settings = parse(f"python -m benchmarks {name}", get_type_hints(benchmark.main)["settings"], sys.argv[2:])
    except Refused as refusal:
        print(f"benchmarks: {refusal}", file=sys.stderr)
        return refusal.exit_status
    return benchmark.main(settings)


if __name__ == "__main__":
    sys.exit(main())
