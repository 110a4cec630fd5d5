"""What a finished run leaves behind: the models as plain Keras files, the pictures, and the summary."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import keras
import numpy as np

from hvd_ae.config import TrainSettings
from hvd_ae.data.sources import Source
from hvd_ae.models.build import find_encoder
from hvd_ae.runs.files import replacing
from hvd_ae.runs.plots import plot_latent, plot_loss, plot_profiles, plot_reconstructions
from hvd_ae.runtime.world import World

_PICTURES = 10
_CODES = 2000


def save_models(model: keras.Model, folder: Path) -> keras.Model | None:
    """Write `model.keras` and, where there is one, `encoder.keras`, which is returned."""
    encoder = find_encoder(model)
    for name, part in (("model", model), ("encoder", encoder)):
        if part is not None:
            with replacing(folder / f"{name}.keras") as partial:
                part.save(partial)
    return encoder


def draw_pictures(model: Callable, encoder: Callable | None, source: Source, rows: list[dict], loss: str,
                  folder: Path) -> None:
    """`loss.png`, `reconstructions.png` and `latent.png`, the last two of validation samples."""
    if rows:
        plot_loss(rows, loss, folder / "loss.png")
    validation = source.validation
    first = np.arange(min(_PICTURES, validation.count))
    originals = scaled(validation, first)
    reconstructions = np.asarray(model(originals, training=False), np.float32)
    if source.picture_shape:
        shape = (-1, *source.picture_shape)
        plot_reconstructions(originals.reshape(shape), reconstructions.reshape(shape), folder / "reconstructions.png")
    else:
        flat = (len(first), -1)
        plot_profiles(originals.reshape(flat)[:5], reconstructions.reshape(flat)[:5], folder / "reconstructions.png")
    if encoder is not None:
        chosen = np.arange(min(_CODES, validation.count))
        codes = np.concatenate([np.asarray(encoder(scaled(validation, part), training=False), np.float32)
                                for part in np.array_split(chosen, -(-len(chosen) // 256))])
        labels = None if validation.labels is None else validation.labels[chosen]
        if np.isfinite(codes).all():  # a run that diverged has no components to show
            plot_latent(codes, labels, folder / "latent.png")


def scaled(samples, indices: np.ndarray) -> np.ndarray:
    """Rows as the model sees them, float32."""
    return samples.rows(indices).astype(np.float32) * np.float32(samples.scale)


def summarise(settings: TrainSettings, world: World, parameters: int, rows: list[dict], checksum: int,
              position) -> dict:
    """What `summary.json` holds: scripts rely on these keys; a number that was not measured is None."""
    last = rows[-1] if rows else {}
    timed_seconds = sum(row["timed_seconds"] for row in rows)
    timed_samples = sum(row["timed_samples"] for row in rows)
    return {
        "ranks": world.size,
        "collectives": settings.collectives,
        "averaging": settings.averaging,
        "sync_every": settings.sync_every,
        "data": settings.data,
        "model": settings.model,
        "parameters": parameters,
        "epochs": position.epoch,
        "steps": position.step,
        "samples": position.samples,
        **{name: last.get(name) for name in ("train_loss", "val_loss", "val_mse")},
        "seconds": sum(row["seconds"] for row in rows) if rows else None,
        "samples_per_second": timed_samples / timed_seconds if timed_seconds else None,
        **{name: sum(row[name] for row in rows) if rows else None
           for name in ("communication_seconds", "bytes_sent_per_rank")},
        "weights_checksum": f"{checksum:016x}",
        "in_sync": last.get("in_sync"),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Of what a run stands on; None where a package is not installed."""
    found = {}
    for package in ("hvd_ae", "tensorflow", "keras", "numpy", "mpi4py", "horovod", "mpich"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
