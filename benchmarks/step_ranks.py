"""What each rank of `benchmarks step` runs: the parts of a step in turn, inside graphs as in training."""

import json
import sys
import time

import numpy as np

from benchmarks.rows import spread
from hvd_ae.quiet import import_tensorflow


def main(data: str, batch_size: int, rounds: int, averaging: str, collectives: str) -> None:
    import_tensorflow()
    from hvd_ae.averaging.none import Alone
    from hvd_ae.collectives.start import start
    from hvd_ae.config import TrainSettings
    from hvd_ae.data.batches import chunks
    from hvd_ae.training.prepare import prepare
    from hvd_ae.training.step import compile_steps

    engine = start(collectives)
    settings = TrainSettings(data=data, batch_size=batch_size, averaging=averaging).effective()
    prepared = prepare(settings, engine)
    alone = Alone(prepared.replica, engine, settings, prepared.steps_per_epoch)
    steps = min(50, prepared.steps_per_epoch - 1)
    with chunks(prepared.source.train, prepared.plan(0), 0, [steps]) as feed:
        chunk = next(feed)
    arguments = chunk.inputs, chunk.my_rows, chunk.global_rows
    whole, local = (compile_steps(way, prepared.source.train) for way in (prepared.way, alone))
    contestants = {
        "input": lambda: _read(prepared, chunks, steps),
        "forward and backward": _forward_and_backward(prepared, chunk),
        "all-reduce": _reduce(prepared, steps),
        "without communication": lambda: local(*arguments),
        "step": lambda: whole(*arguments),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(rounds + 1):  # the first traces
        for name, run in contestants.items():
            engine.barrier()
            started = time.perf_counter()
            run()
            own = np.array([(time.perf_counter() - started) / steps])
            if round_number:
                times[name].append(float(engine.maximum(own).numpy()[0]))
    if engine.world.is_root:
        for name, measured in times.items():
            print("ROW", json.dumps({"part": name, "ranks": engine.world.size, "batch_size": batch_size,
                                     "averaging": averaging, "collectives": engine.name, **spread(measured)}), flush=True)


def _read(prepared, chunks, steps: int) -> None:
    with chunks(prepared.source.train, prepared.plan(0), 0, [steps]) as feed:
        next(feed)


def _forward_and_backward(prepared, chunk):
    """Gradients of the chunk's batches and nothing else: what no way of training can do without."""
    import tensorflow as tf

    from hvd_ae.models.replica import Batch

    kept = tf.Variable(tf.zeros_like(prepared.replica.vector))
    scale = prepared.source.train.scale

    @tf.function
    def run(inputs, rows):
        first = 0
        for step in tf.range(tf.size(rows)):
            values = tf.cast(inputs[first : first + rows[step]], tf.float32) * scale
            gradient, _ = prepared.replica.gradient(Batch(values, values, rows[step], rows[step]), rows[step])
            kept.assign(gradient)
            first += rows[step]

    return lambda: run(chunk.inputs, tf.constant(chunk.my_rows))


def _reduce(prepared, steps: int):
    import tensorflow as tf

    vector = tf.convert_to_tensor(prepared.replica.vector)
    kept = tf.Variable(vector)

    @tf.function
    def run():
        for _ in tf.range(steps):
            kept.assign(tf.ensure_shape(prepared.collectives.sum(vector), kept.shape))

    return run


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
