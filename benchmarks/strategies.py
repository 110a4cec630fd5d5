"""The averaging strategies that are compared: a name for tables, and the flags of `hvd-ae train` that it stands for."""

from collections.abc import Iterable


def flags(name: str) -> list[str]:
    """`gradient`, `gradient:fp16`, `gradient K=4`, `parameter H=16`, `sharded@mpi` and so on as flags."""
    strategy, _, engine = name.partition("@")
    strategy, _, buckets = strategy.partition(" K=")
    strategy, _, period = strategy.partition(" H=")
    strategy, _, compression = strategy.partition(":")
    return ["--averaging", strategy, *(["--sync-every", period] if period else []),
            *(["--compression", compression] if compression else []), *(["--buckets", buckets] if buckets else []),
            *(["--collectives", engine] if engine else [])]


def period(name: str) -> int:
    """Steps from one average to the next."""
    return int(name.partition("@")[0].partition(" H=")[2] or 1)


def steps_for(name: str, at_least: int) -> int:
    """Whole periods: fewer steps would pay too little for averages, more would be followed by one that nobody times."""
    return -(-at_least // period(name)) * period(name)


def names(strategies: str) -> Iterable[str]:
    return [name.strip() for name in strategies.split(",") if name.strip()]
