"""Run folders as a training leaves them, without the training."""

import json
from pathlib import Path

import numpy as np

from hvd_ae.runs.page.samples import Look, save_look
from hvd_ae.settings.toml import to_toml
from hvd_ae.settings.train import TrainSettings


def of_ranks(seconds, input_seconds, communication_seconds):
    """What a record has of ranks."""
    return {"rank": list(range(len(seconds))), "seconds": seconds, "input_seconds": input_seconds,
            "communication_seconds": communication_seconds, "memory": [10**9 + rank for rank in range(len(seconds))]}


def run_folder(path: Path, shape=(8, 8), epochs=5, ranks=2, classes=4, samples=60, name="digits", **given) -> Path:
    """A finished run of losses 1/epoch; samples of this shape, and codes in as many groups as there are classes."""
    path.mkdir(parents=True)
    (path / "config.toml").write_text(to_toml(TrainSettings(**{"data": name, "epochs": epochs, **given}).resolved()))
    random = np.random.default_rng(0)
    with open(path / "metrics.jsonl", "w") as file:
        for epoch in range(1, epochs + 1):
            record = {
                "epoch": epoch, "step": 10 * epoch, "samples": 1000 * epoch, "train_loss": 1.0 / epoch,
                "val_loss": 1.1 / epoch if epoch != 2 else None, "val_mse": 1.1 / epoch, "learning_rate": 0.001,
                "seconds": 2.0, "communication_seconds": 0.5, "bytes_sent_per_rank": 10**6, "drift": None, "in_sync": True,
                "samples_per_second": 500.0 + epoch,
                "of_ranks": of_ranks([2.0] * ranks, [0.25] * ranks, [0.5 + rank / 8 for rank in range(ranks)])}
            file.write(json.dumps(record) + "\n")
    (path / "summary.json").write_text(json.dumps({"steps": 10 * epochs, "ranks": ranks, "weights_checksum": "40ff"}))
    (path / "about.json").write_text(json.dumps({
        "began": "2026-11-28 01:00:00 UTC", "command": f"mpirun -np {ranks} hvd-ae train --data {name}", "ranks": ranks,
        "data": name, "training_samples": 1000, "validation_samples": samples, "fields": {"samples": [shape, "float32"]},
        "data_bytes": 10**6, "fingerprint": "0123456789abcdef", "shuffled": "as a whole", "parameters": 12345,
        "layers": [["code", "Dense", [32], 2080]], "versions": {"numpy": np.__version__, "horovod": None}}))
    originals = random.random((samples, *shape)).astype(np.float32)
    noise = 0.1 * random.normal(size=originals.shape) * np.arange(1, samples + 1).reshape(-1, *[1] * len(shape)) / samples
    groups = np.arange(samples) % classes
    codes = random.normal(size=(samples, 6)) + 4 * random.normal(size=(classes, 6))[groups]
    save_look(Look(originals, (originals + noise).astype(np.float32), codes.astype(np.float32), groups), path / "samples.npz")
    (path / "probe.json").write_text(json.dumps({"classes": list(range(classes)), "codes": {
        "accuracy": 0.875, "confusion": (5 * np.eye(classes, dtype=int)).tolist()}}))
    return path
