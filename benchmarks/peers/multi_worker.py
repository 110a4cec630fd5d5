"""TensorFlow's MultiWorkerMirroredStrategy with Keras `fit`, two processes on this machine, after its tutorial.

Where the installed Keras cannot do it, its own error is the result.
Settings: steps, steps_per_execution.
"""

import json
import os
import socket
import subprocess
import sys

from benchmarks.peers.common import GLOBAL_BATCH, LEARNING_RATE, given
from benchmarks.peers.keras_fit import build, dataset, fit
from hvd_ae.runtime.tensorflow_setup import import_tensorflow

_WORKERS = 2


def start_workers() -> int:
    """Start this file once for each worker; the worst of their exit statuses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(_WORKERS)]
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(_WORKERS):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, "-m", "benchmarks.peers.multi_worker", *sys.argv[1:]]
        processes.append(subprocess.Popen(command, env={**os.environ, "TF_CONFIG": json.dumps(config)}))
    return max(abs(process.wait()) for process in processes)


def work() -> None:
    told = given()
    import_tensorflow()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = dataset(told, told.samples, GLOBAL_BATCH).with_options(options)
    steps = int(told.settings.get("steps", 50))
    with strategy.scope():
        model = build()
        model.compile(keras.optimizers.Adam(LEARNING_RATE), "mse", steps_per_execution=steps)
    fit(model, data, told, steps, speaks=json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0)


if __name__ == "__main__":
    if "TF_CONFIG" in os.environ:
        work()
    else:
        sys.exit(start_workers())
