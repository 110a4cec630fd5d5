"""`python -m benchmarks NAME [--short]`: measure, append rows to results/, or make tables and pictures of them."""

import importlib
import sys

import tyro

NAMES = ("allreduce", "step", "peers", "report")


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        print(f"benchmarks: {name!r} is not known: use one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    command = importlib.import_module(f"benchmarks.{name}")
    tyro.cli(command.main, config=(tyro.conf.OmitArgPrefixes,), prog=f"python -m benchmarks {name}", args=sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
