"""Shows that a change of the code changed no number: the same parameters to the last bit, the same losses.

    python tests/same_bits.py record before.json      # on the code as it was
    python tests/same_bits.py compare before.json     # on the code as it is now; status 1 where anything differs

Bits depend on the processor and on TensorFlow's version, so both are made on one machine, and the record is not kept. Each
job of ranks trains all its cases one after the other, by the public `hvd_ae.train` alone, so that the script runs on code of
any age.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = {"data": "synthetic:118x6x6", "epochs": 2, "batch_size": 6, "seed": 3, "model": "shallow"}
OWN_MODEL = '''
import keras


def convolutional(sample_shape):
    layers = keras.layers
    return keras.Sequential([
        keras.Input(sample_shape), layers.Reshape((*sample_shape, 1)), layers.Conv2D(4, 3, padding="same"),
        layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2), layers.Flatten(),
        layers.Dense(36, activation="sigmoid"), layers.Reshape(sample_shape),
    ])
'''
CORE = {f"{name}": {"averaging": name} for name in ("gradient", "sharded", "parameter")}
CORE["parameter"] = {"averaging": "parameter", "sync_every": 3}
STRATEGIES = {
    **CORE,
    "gradient accumulated": {"averaging": "gradient", "accumulate": 3, "clip_norm": 0.1},
    "gradient fp16": {"averaging": "gradient", "compression": "fp16"},
    "gradient in buckets": {"averaging": "gradient", "buckets": 2},
    "adasum": {"averaging": "adasum"},
    "parameter nesterov": {"averaging": "parameter", "sync_every": 3, "outer_optimizer": "nesterov"},
    "overlapped": {"averaging": "overlapped", "sync_every": 3},
    "post-local": {"averaging": "post-local", "sync_every": 3},
    "hierarchical": {"averaging": "hierarchical", "sync_every": 3, "ranks_per_node": 1},
    # its own choices follow the clock: bounds that leave it none
    "adaptive": {"averaging": "adaptive", "sync_every": 3, "min_sync_every": 3, "max_sync_every": 3},
    "one-shot": {"averaging": "one-shot"},
    "elastic": {"averaging": "elastic", "sync_every": 3},
    "server": {"averaging": "server"},
    "server async": {"averaging": "server", "server": "async"},
    "gossip": {"averaging": "gossip"},
    "gossip exponential": {"averaging": "gossip", "graph": "exponential"},
    "sequential": {"averaging": "sequential", "sync_every": 3},
    "none": {"averaging": "none"},
}
PARTITIONS = {f"partition {name}": {"averaging": "parameter", "sync_every": 3, "partition": name}
              for name in ("contiguous", "strided", "shuffled", "label-skew", "reshuffled")}
MODELS = {f"own model, {name}": {**CORE[name], "model": "own_model:convolutional"} for name in ("gradient", "parameter")}
OTHERS = {"sgd with warm-up": {"optimizer": "momentum", "lr_scaling": "linear", "warmup_epochs": 1.5},
          "bce": {"loss": "bce", "optimizer": "rmsprop"}}
JOBS = {("single", 1): CORE, ("mpi", 2): {**STRATEGIES, **PARTITIONS, **MODELS, **OTHERS}, ("mpi", 3): CORE,
        ("horovod", 2): CORE}


def train_cases(engine: str, ranks: int, folder: Path) -> None:
    """On every rank: train this job's cases, and the root writes what they came to."""
    import hvd_ae

    sys.path.insert(0, str(folder))
    collectives = hvd_ae.start(engine, threads=1)

    def train(name: str, **settings) -> dict:
        run_dir = folder / f"{engine}-{ranks}" / name.replace(" ", "-").replace(",", "")
        settings = hvd_ae.TrainSettings(**{**DATA, **settings}, collectives=engine, run_dir=str(run_dir))
        result = hvd_ae.train(settings, collectives)
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        losses = [[row[key] for key in ("samples", "train_loss", "val_loss", "val_mse")] for row in rows]
        return {"weights_checksum": result.summary["weights_checksum"], "losses": losses}

    outcomes = {name: train(name, **settings) for name, settings in JOBS[engine, ranks].items()}
    for name, settings in (CORE if ranks == 2 else {}).items():  # stopped in the middle of an epoch, and gone on with
        train(f"resumed {name}", **settings, steps=13)
        outcomes[f"resumed {name}"] = train(f"resumed {name}", **settings, resume=True)
    if collectives.world.is_root:
        (folder / f"{engine}-{ranks}.json").write_text(json.dumps(outcomes))


def outcomes() -> dict[str, dict]:
    """What every case of every job comes to, and a probe of one of the runs."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "own_model.py").write_text(OWN_MODEL)
        bin_path = Path(sys.executable).parent
        for engine, ranks in JOBS:
            launcher = [] if engine == "single" else [str(bin_path / "mpirun"), "-np", str(ranks)]
            subprocess.run([*launcher, sys.executable, __file__, "cases", engine, str(ranks), name], check=True, timeout=1200,
                           stdout=subprocess.DEVNULL)
            cases = json.loads((folder / f"{engine}-{ranks}.json").read_text())
            found |= {f"{engine} {ranks}: {case}": outcome for case, outcome in cases.items()}
        run = folder / "mpi-2" / "gradient"
        subprocess.run([str(bin_path / "mpirun"), "-np", "2", str(bin_path / "hvd-ae"), "probe", str(run), "--epochs", "2"],
                       check=True, timeout=600, stdout=subprocess.DEVNULL)
        probed = json.loads((run / "probe.json").read_text())
        found["probe"] = {kind: [probed[kind]["train_loss"], probed[kind]["val_loss"], probed[kind]["confusion"]]
                          for kind in ("codes", "fine_tuned", "pixels", "pca")}
    return found


def main(action: str, *arguments: str) -> int:
    if action == "cases":
        engine, ranks, folder = arguments
        train_cases(engine, int(ranks), Path(folder))
        return 0
    [record] = map(Path, arguments)
    now = outcomes()
    if action == "record":
        record.write_text(json.dumps(now, indent=1))
        print(f"{len(now)} outcomes are in {record}")
        return 0
    before = json.loads(record.read_text())
    different = [name for name in before if now.get(name) != before[name]]
    for name in different:
        print(f"{name}:\n  before {json.dumps(before[name])[:300]}\n  now    {json.dumps(now.get(name))[:300]}")
    print(f"{len(before) - len(different)} of {len(before)} outcomes are the same to the last bit")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
