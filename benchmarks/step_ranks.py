"""What each rank of `benchmarks step` runs: epochs of training, and parts of a step inside graphs, in turn."""

import json
import sys
from functools import partial

import numpy as np

from benchmarks.contest import alternate, slowest
from benchmarks.rows import spread
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_STEPS = 50  # in a turn of a part: as many as training takes in one call into the graph
_FEW = 10  # of what takes longer than a step
_STRATEGIES = {"gradient": {}, "sharded": {}, "parameter": {"sync_every": 16}, "none": {}}
_MATRIX = 1024  # rows and columns: large enough for the best rate there is, small enough for the cache
_COPIED = 8 << 20  # bytes: with its target about what an update of `deep` goes through, and so in the same cache


def main(engine: str, data: str, batch_size: int, rounds: int) -> None:
    import_tensorflow()
    from hvd_ae.collectives.start import start
    from hvd_ae.settings.train import TrainSettings
    from hvd_ae.training.samples import load_on_all
    from hvd_ae.training.session import Session

    comm = start(engine)
    common = {"data": data, "model": "deep", "batch_size": batch_size, "epochs": rounds + 2, "collectives": engine}
    settings = {strategy: TrainSettings(averaging=strategy, **common, **more).resolved() for strategy, more in
                _STRATEGIES.items()}
    source = load_on_all(settings["gradient"], comm)
    sessions = {strategy: Session(each, comm, source) for strategy, each in settings.items()}
    contestants = {f"training, {strategy}": _epochs(each) for strategy, each in sessions.items()}
    parts = _parts(sessions["gradient"], sessions["sharded"])
    contestants |= {name: partial(_each, comm, run, times) for name, (run, times) in parts.items()}
    for each in contestants.values():  # the first turn traces
        each()
    outcomes = alternate(contestants, rounds)
    for name, outcome in outcomes.items() if comm.world.is_root else ():
        print("ROW", json.dumps({"part": name, "engine": engine, "reason": outcome.reason,
                                 "parameters": sessions["gradient"].learner.flat.layout.size,
                                 "matrix": _MATRIX, "copied_bytes": _COPIED, **spread(outcome.values)}), flush=True)


def _epochs(session):
    """Seconds a step of the next epoch, as the run's own report has them: the slowest rank, input and checks included."""
    from hvd_ae.training.loop import Loop

    progress = Loop(session, lambda: None).run()

    def epoch() -> float:
        report = next(each for each in progress if each)
        return report.timed_seconds / (report.timed_samples / (session.settings.batch_size * session.trainers.size))

    return epoch


def _each(comm, run, times: int) -> float:
    return slowest(comm, run) / times


def _parts(gradient, sharded) -> dict:
    """Functions that do one part of a step on all ranks at once, and how often in a call."""
    import tensorflow as tf

    comm, learner, of_part = gradient.comm, gradient.learner, sharded.learner
    vector = tf.random.stateless_uniform(learner.vector.shape, [0, 0], -1e-3, 1e-3)
    own = vector[of_part.part[0] : sum(of_part.part)]
    tall = np.ones(_COPIED, np.uint8)
    target = np.empty_like(tall)
    return {
        "input": (partial(_read, gradient), _STEPS),
        "forward and backward": (_forward_and_backward(gradient), _STEPS),
        "update": (_repeated(lambda: learner.update(vector)), _STEPS),
        "update, this rank's part": (_repeated(lambda: of_part.update(own)), _STEPS),
        "all-reduce": (_repeated(lambda: comm.sum(vector)), _STEPS),
        "reduce-scatter, all-gather": (_repeated(lambda: comm.all_gather(comm.reduce_scatter(vector))), _STEPS),
        "MPI_Allreduce": (partial(_bare, comm, vector.numpy()), _STEPS),
        "matrix product": (_product(), _FEW),
        "memory copy": (lambda: [np.copyto(target, tall) for _ in range(_STEPS)], _STEPS),
    }


def _repeated(once):
    """A graph that does it `_STEPS` times, one after the other."""
    import tensorflow as tf

    @tf.function
    def run():
        for _ in tf.range(_STEPS):
            once()  # an update or a collective has effects, so it is run although nothing uses its result

    return run


def _product():
    """Products that each need the one before: equal ones would be computed once."""
    import tensorflow as tf

    matrix = tf.constant(np.full((_MATRIX, _MATRIX), 1 / _MATRIX, np.float32))

    @tf.function
    def run():
        result = matrix
        for _ in tf.range(_FEW):
            result = tf.matmul(result, matrix)
        return result

    return run


def _read(session) -> None:
    from hvd_ae.data.feed import super_batches

    plan = session.plan(0)
    with super_batches(session.input.reader, plan, 0, [min(_STEPS, len(plan.batch_sizes))]) as feed:
        next(feed)


def _forward_and_backward(session):
    """Gradients of consecutive batches and nothing else: what no training can do without."""
    import tensorflow as tf

    from hvd_ae.data.feed import super_batches
    from hvd_ae.data.source import SAMPLES
    from hvd_ae.models.learner import Batch

    train, learner = session.source.train, session.learner
    with super_batches(session.input.reader, session.plan(0), 0, [_STEPS]) as feed:
        super_batch = next(feed)
    inputs, sizes = tf.constant(super_batch.example[SAMPLES]), tf.constant(super_batch.batch_sizes)
    scale = train.fields[SAMPLES].scale

    @tf.function
    def run():
        first, loss_sum = tf.constant(0), tf.constant(0.0)
        gradient = tf.zeros_like(learner.vector)
        for step in tf.range(_STEPS):
            values = tf.cast(inputs[first : first + sizes[step]], tf.float32) * scale
            gradient, loss = learner.gradient(Batch(values, values, sizes[step], sizes[step]), sizes[step])
            loss_sum += loss
            first += sizes[step]
        return loss_sum, gradient

    return run


def _bare(comm, vector: np.ndarray) -> None:
    from mpi4py import MPI

    total = np.empty_like(vector)
    for _ in range(_STEPS):
        comm.communicator.Allreduce(vector, total, MPI.SUM)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
