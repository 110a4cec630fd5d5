"""What strategies' costs are made of: seconds of sums on any number of ranks, from two numbers for each kind of link.

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
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Link:
    """How ranks reach each other."""

    latency: float  # seconds
    per_byte: float  # seconds

    def message(self, size: float) -> float:
        return self.latency + size * self.per_byte


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


def all_reduce(ranks: int, size: float, link: Link) -> float:
    """Seconds among ranks that all reach each other by the same link."""
    if ranks == 1:
        return 0.0
    rounds, moved = math.ceil(math.log2(ranks)), 2 * (ranks - 1) / ranks * size * link.per_byte
    return min(2 * (ranks - 1) * link.latency + moved, 2 * rounds * link.latency + moved, rounds * link.message(size))


def slowest(ranks: int) -> float:
    """The expected maximum of so many standard normal numbers."""
    return 0.0 if ranks == 1 else NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25))


def nodes_of(job: Job, ranks: int) -> tuple[int, int]:
    """Ranks of a node, and nodes."""
    inside = min(ranks, job.per_node)
    return inside, math.ceil(ranks / inside)


def all_reduce_everywhere(job: Job, ranks: int) -> float:
    """An all-reduce of the vector: among the ranks of each node, then between nodes."""
    inside, nodes = nodes_of(job, ranks)
    return all_reduce(inside, job.size, job.inside) + all_reduce(nodes, job.size, job.between)


def widest_link(job: Job, ranks: int) -> Link:
    return job.between if nodes_of(job, ranks)[1] > 1 else job.inside


Parts = tuple[float, float, float]  # seconds of computing, of communicating, of waiting, in a step on average
