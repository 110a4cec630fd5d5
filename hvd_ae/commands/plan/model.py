"""Predictions: each strategy's cost for a job, on any number of ranks, and the link that explains what was measured.

What costs are made of, and what they leave out, stands in `averaging/cost.py`.
"""

import math
from dataclasses import dataclass

from hvd_ae.averaging import strategy_class
from hvd_ae.averaging.cost import Job, Link, nodes_of
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.errors import Refused
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.train import strategy_defaults


@dataclass(frozen=True)
class Prediction:
    """For one strategy on one number of ranks."""

    strategy: str
    every: int | None  # H
    ranks: int
    nodes: int
    seconds_per_step: float
    efficiency: float  # samples/s of a rank, over those of one rank alone
    communication_share: float  # of the time, waiting for slower ranks included
    samples_per_second: float
    seconds_per_epoch: float


def no_link() -> Refused:
    return Refused("one rank alone shows no link: start `hvd-ae plan` with mpirun -np 2, or give --link-latency and "
                   "--link-bandwidth")


def predicted() -> list[str]:
    """The strategies whose cost is known."""
    return [name for name in STRATEGIES if strategy_class(name).cost is not Strategy.cost]


def has_period(strategy: str) -> bool:
    return "sync_every" in strategy_defaults(strategy)


def predict(job: Job, strategy: str, every: int | None, ranks: int) -> Prediction:
    """What this strategy comes to on so many ranks."""
    every = every if has_period(strategy) else None
    computing, communicating, waiting = strategy_class(strategy).cost(job, ranks, every or 1)
    seconds = computing + communicating + waiting
    return Prediction(
        strategy=strategy, every=every, ranks=ranks, nodes=nodes_of(job, ranks)[1], seconds_per_step=seconds,
        efficiency=job.step / seconds, communication_share=(communicating + waiting) / seconds,
        samples_per_second=ranks * job.batch / seconds,
        seconds_per_epoch=math.ceil(job.samples / (ranks * job.batch)) * seconds,
    )


def fit(points: list[tuple[float, float]], ranks: int) -> Link:
    """The link that explains all-reduces among so many ranks best, by least squares of the relative error.

    Args:
        points: (bytes, seconds).
    """
    rounds, moved = 2 * math.ceil(math.log2(ranks)), 2 * (ranks - 1) / ranks
    # seconds = rounds a + moved B b: each equation is divided by its seconds, so that every size weighs the same
    rows = [(rounds / seconds, moved * size / seconds) for size, seconds in points]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = sum(row[0] for row in rows), sum(row[1] for row in rows)
    determinant = aa * bb - ab * ab
    latency, per_byte = ((a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant) if determinant else (-1.0, -1.0)
    if latency < 0:
        return Link(0.0, b / bb)
    if per_byte < 0:
        return Link(a / aa, 0.0)
    return Link(latency, per_byte)
