"""The model: seconds of a step on any number of ranks, from one rank's step and two numbers for each kind of link.

Hockney's model (1994, https://doi.org/10.1016/S0167-8191(06)80021-9): a message of B bytes takes a + B b, with latency a and
seconds per byte b. For an all-reduce among n ranks (Thakur et al. 2005, https://doi.org/10.1177/1094342005051521):

    ring                         2 (n - 1) a            + 2 (n - 1) / n B b
    halving and doubling         2 ceil(log2 n) a       + 2 (n - 1) / n B b
    recursive doubling           ceil(log2 n) (a + B b)

of which an MPI takes the fastest. Ranks of a node first reduce among themselves, then nodes among each other. Ranks wait for
the slowest: with a normal spread s of a step's seconds, the slowest of n is later than the mean by s z(n), z(n) being the
expected maximum of n standard normal numbers (Blom 1958: about the quantile (n - 0.375) / (n + 0.25)). H steps between two
meetings take H times as long but spread only sqrt(H) times as much, so the wait for a step is s z(n) / sqrt(H).

Left out: communication hidden behind computing, ranks that are slower for good, a network that others use too, reading data,
evaluation, checkpoints, and more ranks than cores.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from hvd_ae.errors import Refused


@dataclass(frozen=True)
class Link:
    """How ranks reach each other."""

    latency: float  # seconds
    per_byte: float  # seconds

    def message(self, size: float) -> float:
        return self.latency + size * self.per_byte


def no_link() -> Refused:
    return Refused("one rank alone shows no link: start `hvd-ae plan` with mpirun -np 2, or give --link-latency and "
                   "--link-bandwidth")


@dataclass(frozen=True)
class Job:
    """What one rank does in a step, and what joins the ranks."""

    step: float  # seconds: forward, backward and update, without communication
    spread: float  # standard deviation of that
    update: float  # seconds of it in the optimizer
    size: int  # bytes of the vector of parameters
    batch: int  # samples per rank and step
    samples: int  # of an epoch
    inside: Link  # between ranks of a node
    between: Link  # between nodes
    per_node: int  # ranks


@dataclass(frozen=True)
class Prediction:
    """For one way on one number of ranks."""

    strategy: str
    every: int | None  # H
    ranks: int
    nodes: int
    seconds_per_step: float
    efficiency: float  # samples/s of a rank, over those of one rank alone
    communication_share: float  # of the time, waiting for slower ranks included
    samples_per_second: float
    seconds_per_epoch: float


def all_reduce(ranks: int, size: float, link: Link) -> float:
    """Seconds among ranks that all reach each other by the same link."""
    if ranks == 1:
        return 0.0
    rounds, moved = math.ceil(math.log2(ranks)), 2 * (ranks - 1) / ranks * size * link.per_byte
    return min(2 * (ranks - 1) * link.latency + moved, 2 * rounds * link.latency + moved, rounds * link.message(size))


def slowest(ranks: int) -> float:
    """The expected maximum of so many standard normal numbers."""
    return 0.0 if ranks == 1 else NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def _nodes(job: Job, ranks: int) -> tuple[int, int]:
    """Ranks of a node, and nodes."""
    inside = min(ranks, job.per_node)
    return inside, math.ceil(ranks / inside)


def _everywhere(job: Job, ranks: int) -> float:
    """An all-reduce of the vector: among the ranks of each node, then between nodes."""
    inside, nodes = _nodes(job, ranks)
    return all_reduce(inside, job.size, job.inside) + all_reduce(nodes, job.size, job.between)


def _widest(job: Job, ranks: int) -> Link:
    return job.between if _nodes(job, ranks)[1] > 1 else job.inside


# Each: (seconds of computing, of communicating, of waiting) a step, on average
_Parts = tuple[float, float, float]


def _none(job: Job, ranks: int, every: int) -> _Parts:
    return job.step, 0.0, 0.0


def _gradient(job: Job, ranks: int, every: int) -> _Parts:
    return job.step, _everywhere(job, ranks), job.spread * slowest(ranks)


def _sharded(job: Job, ranks: int, every: int) -> _Parts:
    return job.step - job.update * (1 - 1 / ranks), _everywhere(job, ranks), job.spread * slowest(ranks)


def _periodic(job: Job, ranks: int, every: int) -> _Parts:
    return job.step, _everywhere(job, ranks) / every, job.spread * slowest(ranks) / math.sqrt(every)


def _overlapped(job: Job, ranks: int, every: int) -> _Parts:
    """As `_periodic`, but of an average only what takes longer than a period is seen."""
    step, seconds, wait = _periodic(job, ranks, every)
    return step, max(0.0, seconds - step), wait


def _hierarchical(job: Job, ranks: int, every: int) -> _Parts:
    inside, nodes = _nodes(job, ranks)
    often, seldom = all_reduce(inside, job.size, job.inside), all_reduce(nodes, job.size, job.between)
    wait = job.spread * (slowest(inside) + (slowest(nodes) / math.sqrt(every)))
    return job.step, often + (often + seldom) / every, wait


def _adasum(job: Job, ranks: int, every: int) -> _Parts:
    inside, nodes = (math.ceil(math.log2(count)) for count in _nodes(job, ranks))
    seconds = inside * job.inside.message(job.size) + nodes * job.between.message(job.size)
    return job.step, seconds, job.spread * slowest(ranks)


def _gossip(job: Job, ranks: int, every: int) -> _Parts:
    neighbours = min(2, ranks - 1)
    return job.step, neighbours * _widest(job, ranks).message(job.size), job.spread * slowest(neighbours + 1)


def _sequential(job: Job, ranks: int, every: int) -> _Parts:
    """A round is H steps of one rank after the other; who does not train waits."""
    link = _widest(job, ranks)
    hand_over = (ranks * link.message(job.size) + _everywhere(job, ranks)) / every if ranks > 1 else 0.0
    return job.step, hand_over, (ranks - 1) * job.step


# `post-local` is `gradient` and then `parameter`; `adaptive` chooses H as it goes, and of `server` the speed depends on whom
# the server drops: these are not predicted.
STRATEGIES: dict[str, tuple[Callable[[Job, int, int], _Parts], bool]] = {  # and whether it has an H
    "gradient": (_gradient, False), "sharded": (_sharded, False), "adasum": (_adasum, False), "parameter": (_periodic, True),
    "overlapped": (_overlapped, True), "elastic": (_periodic, True), "hierarchical": (_hierarchical, True),
    "gossip": (_gossip, False), "sequential": (_sequential, True), "one-shot": (_none, False), "none": (_none, False),
}


def predict(job: Job, strategy: str, every: int | None, ranks: int) -> Prediction:
    """What this way comes to on so many ranks."""
    parts, has_period = STRATEGIES[strategy]
    computing, communicating, waiting = parts(job, ranks, every if has_period and every else 1)
    seconds = computing + communicating + waiting
    return Prediction(
        strategy=strategy, every=every if has_period else None, ranks=ranks, nodes=_nodes(job, ranks)[1], seconds_per_step=seconds,
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
