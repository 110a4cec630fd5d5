"""What each rank of `benchmarks encode` runs: all take turns, and it says the samples a second of each core, the slowest."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.contest import alternate, slowest
from hvd_ae.commands.outputs import write_of_samples
from hvd_ae.inference.functions import codes
from hvd_ae.runs.opened import open_run
from hvd_ae.settings.commands import EncodeSettings

BATCH = 1024  # that of encode, and the best of Keras's `predict`


def main(run_dir: str, data: Path, rounds: int) -> None:
    """Samples are tensors for the forward pass, an array for `predict`, and a file for `encode`, which writes one too."""
    of_run, encoder, comm = open_run(run_dir, "encoder", side_by_side=True)
    mapped, world = np.load(data, mmap_mode="r"), comm.world
    share = len(mapped) // world.size
    own = np.array(mapped[world.rank * share : (world.rank + 1) * share])
    blocks = [tf.constant(own[first : first + BATCH]) for first in range(0, share - BATCH + 1, BATCH)]
    forward = tf.function(lambda values: encoder(values, training=False)).get_concrete_function(
        tf.TensorSpec((BATCH, own.shape[1]), tf.float32))
    settings = EncodeSettings(run=run_dir, data=str(data), output=str(data.with_name("codes.npy")))

    def pass_blocks() -> None:
        for block in blocks:
            forward(block)

    def rate(samples: int, run) -> float:
        return samples / slowest(comm, run)

    contestants = {
        "forward pass alone": lambda: rate(len(blocks) * BATCH, pass_blocks),
        "predict of Keras": lambda: rate(share, lambda: encoder.predict(own, batch_size=BATCH, verbose=0)),
        "encode": lambda: rate(share, lambda: write_of_samples(settings, of_run, encoder, codes, "codes", comm)),
    }
    for warm_up in contestants.values():
        warm_up()
    outcomes = alternate(contestants, rounds)
    if world.is_root:
        print("ROW", json.dumps({name: outcome.values for name, outcome in outcomes.items()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
