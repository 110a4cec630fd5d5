"""What each rank of `benchmarks startup` runs: the package up to the end of its first step, then it says the time."""

import json
import sys
import time

import numpy as np


def main(began: float) -> None:
    """`began`: when the command was given, in seconds since 1970."""
    from hvd_ae.runtime.tensorflow_setup import import_tensorflow

    started = time.perf_counter()
    import_tensorflow()
    import_seconds = time.perf_counter() - started

    import hvd_ae
    from hvd_ae.training.loop import Loop
    from hvd_ae.training.session import Session

    comm = hvd_ae.start()
    with Session(hvd_ae.TrainSettings(steps=1).resolved(), comm) as session:
        next(Loop(session, lambda: None).run())
        first_step_seconds = time.time() - began
    slowest = comm.maximum(np.array([import_seconds, first_step_seconds])).numpy().tolist()
    if comm.world.is_root:
        print("ROW", json.dumps(dict(zip(("import_seconds", "first_step_seconds"), slowest))), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
