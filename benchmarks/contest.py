"""Contestants in turn, round after round, so that a machine whose speed changes treats them alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.jobs import JobFailed


@dataclass
class Outcome:
    """What a contestant's rounds gave; after a failure it has no further turn."""

    values: list[float] = field(default_factory=list)
    reason: str | None = None  # why there is no number


def alternate(contestants: Mapping[Hashable, Callable[[], float]], rounds: int,
              turns: Mapping[Hashable, int] | None = None) -> dict[Hashable, Outcome]:
    """Each contestant's numbers in each round; every round begins with the next one, so that none is always first.

    A contestant that raises `JobFailed` loses what it has, and its outcome says why.

    Args:
        turns: how many turns in a round some have [one]; all have their first before any has its second.
    """
    turns = turns or {}
    names = [name for turn in range(max([1, *turns.values()])) for name in contestants if turn < turns.get(name, 1)]
    outcomes = {name: Outcome() for name in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for name in names[first:] + names[:first]:
            if outcomes[name].reason is not None:
                continue
            try:
                outcomes[name].values.append(contestants[name]())
            except JobFailed as failure:
                outcomes[name] = Outcome(reason=str(failure))
    return outcomes


def slowest(comm, run: Callable[[], object]) -> float:
    """Seconds from a barrier to the end of `run` on the slowest rank, the same on all; every rank calls it.

    Args:
        comm: a communicator of hvd_ae, or anything with its `barrier` and `maximum`.
    """
    comm.barrier()
    started = time.perf_counter()
    run()
    own = np.array([time.perf_counter() - started])
    return float(np.asarray(comm.maximum(own))[0])
