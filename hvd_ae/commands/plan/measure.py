"""What a plan stands on, measured on the ranks that are here: a step, the update in it, and sums of several sizes."""

import os
import statistics
import time

import numpy as np
import tensorflow as tf

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.commands.plan.model import fit, no_link
from hvd_ae.data.feed import super_batches
from hvd_ae.runtime.consensus import refused_on_all
from hvd_ae.runtime.versions import versions
from hvd_ae.settings.commands import PlanSettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.session import Session
from hvd_ae.training.step import compile_steps

_STEPS, _CALLS = 10, 40  # steps of a call into the graph, and calls
_LARGEST = 64 << 20  # bytes
_SECONDS_OF_SUMS = 0.5  # of each size, about


def measure(settings: PlanSettings) -> tuple[dict, bool]:
    """As plain values for `plan-measured.json`, and whether this rank is the root (every rank calls it).

    Raises:
        Refused: there is one rank, and no link is given.
    """
    training = TrainSettings(data=settings.data, model=settings.model, batch_size=settings.batch_size, loss=settings.loss,
                             optimizer=settings.optimizer, averaging="none", seed=settings.seed)
    comm = start(settings.collectives, settings.threads)
    if comm.world.size == 1 and settings.link_latency is None:
        raise no_link()
    with Session(training.resolved(), comm) as session:
        return _measured(settings, session), comm.world.is_root


def _measured(settings: PlanSettings, session: Session) -> dict:
    comm = session.comm
    world, size = comm.world, session.learner.flat.layout.size * 4
    step, spread = _step(session)
    of_ranks = comm.all_gather(np.array([step, spread])).numpy().reshape(-1, 2)
    measured = {
        "data": settings.data, "model": settings.model, "batch_size": settings.batch_size, "optimizer": settings.optimizer,
        "samples": session.source.train.count, "parameters": session.learner.flat.layout.size,
        "ranks": world.size, "nodes": world.nodes, "ranks_per_node": world.local_size, "collectives": comm.name,
        "cores_per_node": os.cpu_count(), "versions": versions(),
        "step_seconds": float(np.median(of_ranks[:, 0])), "step_spread_seconds": float(np.median(of_ranks[:, 1])),
        "update_seconds": _update(session, comm), "links": {}, "sums": {},
    }
    for name, engine in _links(comm).items():
        sums = [(bytes_, _sum(engine, comm, bytes_)) for bytes_ in _sizes(size)]
        link = fit(sums, engine.world.size)
        measured["sums"][name] = [{"bytes": bytes_, "seconds": seconds} for bytes_, seconds in sums]
        measured["links"][name] = {"latency_seconds": link.latency, "seconds_per_byte": link.per_byte}
    return measured


def _links(comm: Communicator) -> dict[str, Communicator]:
    """The ranks of a node among themselves, and one of each node with the others; the same links on all ranks.

    Raises:
        Refused: nodes have different numbers of ranks, so that some would have nobody to measure with.
    """
    world = comm.world
    if world.size == 1:
        return {}
    if world.nodes == 1:
        return {"inside": comm}
    places = comm.all_gather(np.array([world.node, world.local_rank], np.int64)).numpy().reshape(-1, 2)
    counts = np.bincount(places[:, 0])
    if counts.min() != counts.max():
        raise refused_on_all(f"nodes have {counts.min()} to {counts.max()} ranks: start as many on each, for instance with "
                             "mpirun -ppn")
    links = {"between": comm.split(_alike(places[:, 1]))}
    return {**links, "inside": comm.split(_alike(places[:, 0]))} if counts[0] > 1 else links


def _alike(numbers: np.ndarray) -> list[list[int]]:
    """The ranks that have the same number, by number."""
    return [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]


def _step(session: Session) -> tuple[float, float]:
    """Median seconds of a step of this rank, all ranks working at once, and the standard deviation of single steps.

    From calls of several steps, whose spread is by the root of their number smaller than that of one.
    """
    run_steps = compile_steps(session.strategy, session.source.train, session.task)
    plan, seconds = session.plan(0), []
    full = int(np.sum(plan.batch_sizes == session.settings.batch_size))
    at_once = max(1, min(_STEPS, full // 2))
    ends = list(range(at_once, full + 1, at_once))
    while len(seconds) < _CALLS:
        with super_batches(session.input.reader, plan, 0, ends) as feed:
            for super_batch in feed:
                begun = time.perf_counter()
                session.strategy.run_call(run_steps, super_batch)
                seconds.append((time.perf_counter() - begun) / at_once)
    seconds = seconds[3:]  # the first of them trace, and warm up
    quarter = statistics.quantiles(seconds, n=4)
    return statistics.median(seconds), (quarter[2] - quarter[0]) / 1.349 * at_once**0.5


def _update(session: Session, comm: Communicator) -> float:
    """Seconds of the optimizer on all parameters, the slowest rank's median."""
    gradient = tf.zeros_like(session.learner.vector)
    update = _repeated(lambda: session.learner.update(gradient))
    update(tf.constant(1))
    comm.barrier()
    times = [_seconds(update, 10) for _ in range(5)]
    return float(comm.maximum(np.array([statistics.median(times)])).numpy()[0])


def _sizes(vector: int) -> list[int]:
    """Bytes of the vectors whose sums are timed; that of the model is among them where it is not too large."""
    return sorted({4096, 65_536, 1 << 20, min(vector, _LARGEST), min(4 * vector, _LARGEST)})


def _sum(engine: Communicator, comm: Communicator, size: int) -> float:
    """Seconds of a sum of so many bytes: the slowest rank's, a median over several tries."""
    vector = tf.ones([size // 4])
    sums = _repeated(lambda: engine.sum(vector))
    sums(tf.constant(1))
    once = float(comm.maximum(np.array([_seconds(sums, 3)])).numpy()[0])
    times = max(1, min(200, round(_SECONDS_OF_SUMS / 7 / once)))
    tries = []
    for _ in range(7):
        comm.barrier()
        tries.append(_seconds(sums, times))
    return float(comm.maximum(np.array([statistics.median(tries)])).numpy()[0])


def _repeated(work):
    """A graph that does something so many times, one after the other."""
    @tf.function
    def several(times):
        for _ in tf.range(times):
            work()

    return several


def _seconds(several, times: int) -> float:
    begun = time.perf_counter()
    several(tf.constant(times))
    return (time.perf_counter() - begun) / times
