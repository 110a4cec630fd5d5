"""What a finished run leaves behind: the models as plain Keras files, the pictures, and the summary."""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from hvd_ae.data.source import SAMPLES, Field, Splits
from hvd_ae.models.build import find_encoder
from hvd_ae.models.raw_units import in_raw_units
from hvd_ae.runs.files import replacing
from hvd_ae.runs.page.samples import Look, look
from hvd_ae.runs.page.sections import loss_unit
from hvd_ae.runs.plots import picture_shape, plot_latent, plot_loss, plot_profiles, plot_reconstructions
from hvd_ae.runtime.versions import versions
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.task import Task, normalization_of
from hvd_ae.training.cursor import Cursor

_PICTURES = 10


def in_raw_units_of(task: Task, spec: Mapping[str, Field], model: keras.Model) -> tuple[keras.Model, keras.Model | None]:
    """The model and, where there is one, its encoder, as they take and give the user's data."""
    inputs, outputs = (normalization_of(field, spec) for field in (task.input_field, task.output_field))
    encoder = find_encoder(model)
    if inputs is not None or outputs is not None:
        shape = spec[task.input_field].shape if inputs is not None else tuple(model.input_shape)[1:]
        encoder = encoder if encoder is None else in_raw_units(encoder, shape, inputs, None)
        model = in_raw_units(model, shape, inputs, outputs)
    return model, encoder


def save_models(model: keras.Model, encoder: keras.Model | None, folder: Path) -> None:
    """Write `model.keras` and, where there is one, `encoder.keras`."""
    for name, part in (("model", model), ("encoder", encoder)):
        if part is not None:
            with replacing(folder / f"{name}.keras") as partial:
                part.save(partial)


def draw_loss(records: list[dict], settings: TrainSettings, folder: Path) -> None:
    """`loss.png`, where an epoch has ended."""
    if records:
        plot_loss(records, loss_unit(vars(settings)), folder / "loss.png")


def draw_pictures(model: Callable, encoder: Callable | None, source: Splits, folder: Path) -> Look:
    """Of an autoencoder and validation samples: `reconstructions.png`, and `latent.png` where there is an encoder."""
    seen = look(model, encoder, source.validation)
    originals, reconstructions = seen.originals[:_PICTURES], seen.reconstructions[:_PICTURES]
    picture = picture_shape(source.validation.fields[SAMPLES].shape)
    if picture:
        shape = (-1, *picture)
        plot_reconstructions(originals.reshape(shape), reconstructions.reshape(shape), folder / "reconstructions.png")
    else:
        flat = (len(originals), -1)
        plot_profiles(originals.reshape(flat)[:5], reconstructions.reshape(flat)[:5], folder / "reconstructions.png")
    if seen.codes is not None and np.isfinite(seen.codes).all():  # a run that diverged has no components to show
        plot_latent(seen.codes, seen.labels, folder / "latent.png")
    return seen


def summarize(settings: TrainSettings, world: World, parameters: int, records: list[dict], checksum: int,
              cursor: Cursor, data_bytes: int, best_epoch: int | None = None, stop_reason: str | None = None) -> dict:
    """What `summary.json` holds: scripts rely on these keys; a number that was not measured is None.

    Losses are those of the model that is saved: of the best epoch, where that is kept.
    """
    last = records[-1] if records else {}
    of_model = next((record for record in reversed(records) if record["epoch"] == best_epoch), last)
    timed_seconds = sum(record["timed_seconds"] for record in records)
    timed_samples = sum(record["timed_samples"] for record in records)
    return {
        "ranks": world.size,
        "collectives": settings.collectives,
        "averaging": settings.averaging,
        "sync_every": settings.sync_every,
        "data": settings.data,
        "model": settings.model,
        "parameters": parameters,
        "epochs": cursor.epoch,
        "steps": cursor.step,
        "samples": cursor.samples,
        "best_epoch": best_epoch,
        "stop_reason": stop_reason,
        **{name: of_model.get(name) for name in ("train_loss", "val_loss", "val_mse")},
        "seconds": sum(record["seconds"] for record in records) if records else None,
        "samples_per_second": timed_samples / timed_seconds if timed_seconds else None,
        **{name: sum(record[name] for record in records) if records else None
           for name in ("communication_seconds", "bytes_sent_per_rank", "bytes_decoded", "input_seconds")},
        "data_bytes": data_bytes,
        "weights_checksum": f"{checksum:016x}",
        "in_sync": last.get("in_sync"),
        "versions": versions(),
    }
