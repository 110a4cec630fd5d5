"""A study of settings: a few drawn at random, each trained on all ranks, and the best of them trained for longer.

    $ mpirun -np 2 python examples/study.py

Every rank draws from the same seed, so all train the same. With a library such as Optuna let the root alone ask, and tell the
others what it was given by `broadcast_text`; else each rank would train something else.
"""

import random

import hvd_ae

TRIALS, SHORT, LONG = 4, 2, 5


def main(comm=None, trials=TRIALS, folder="runs/study", **changes) -> tuple[list[tuple[float, dict]], hvd_ae.Result]:
    """Each trial's validation error and settings, the best first; and what the longer training came to."""
    comm = comm or hvd_ae.start()
    drawn, found = random.Random(0), []
    base = {"data": "digits", "model": "shallow", "quiet": True, **changes}
    for trial in range(trials):
        chosen = {"learning_rate": 10 ** drawn.uniform(-4, -1), "optimizer": drawn.choice(["adam", "momentum", "lamb"])}
        settings = hvd_ae.TrainSettings(**{**base, "epochs": SHORT, "run_dir": f"{folder}/trial-{trial}", **chosen})
        found.append((hvd_ae.train(settings, comm).summary["val_mse"], chosen))
    found.sort(key=lambda trial: float("inf") if trial[0] is None else trial[0])  # None: it diverged
    longer = {"epochs": LONG, "schedule": "cosine", "keep_best": True, "run_dir": f"{folder}/best"}
    return found, hvd_ae.train(hvd_ae.TrainSettings(**{**base, **longer, **found[0][1]}), comm)


if __name__ == "__main__":
    results, best = main()
    if best.world.is_root:
        for error, chosen in results:
            print(f"val_mse {error}  {chosen}")
        print(f"after {LONG} epochs: {best.summary['val_mse']:.4f}, in {best.run_dir}")
