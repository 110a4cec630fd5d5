"""What a finished run leaves behind: the models as plain Keras files, the pictures, and the summary."""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from hvd_ae.data.source import SAMPLES, Field, Splits
from hvd_ae.models.autoencoders import CONDITION, SAMPLE
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

_PICTURES, _PROFILES = 10, 5


def in_raw_units_of(task: Task, spec: Mapping[str, Field], model: keras.Model) -> dict[str, keras.Model]:
    """The parts of a trained model by name, "model", "encoder" and "decoder", as they take and give the user's data."""
    sample, condition, outputs = (normalization_of(field, spec)
                                  for field in (task.input_field, task.condition_field, task.output_field))
    inputs = {SAMPLE: sample, CONDITION: condition}
    shape = spec[task.input_field].shape if task.input_field in spec else ()
    parts = task.finished(model)
    for name, (given, gives) in {"model": (inputs, outputs), "encoder": (inputs, None),
                                 "decoder": ({CONDITION: condition}, outputs)}.items():
        if name in parts:
            parts[name] = in_raw_units(parts[name], shape, given, gives)
    return parts


def save_models(parts: Mapping[str, keras.Model], folder: Path) -> None:
    """Write each part as `NAME.keras`."""
    for name, part in parts.items():
        with replacing(folder / f"{name}.keras") as partial:
            part.save(partial)


def draw_loss(records: list[dict], settings: TrainSettings, folder: Path) -> None:
    """`loss.png`, where an epoch has ended."""
    if records:
        plot_loss(records, loss_unit(vars(settings)), folder / "loss.png")


def draw_pictures(task: Task, parts: Mapping[str, Callable], source: Splits, folder: Path) -> Look:
    """Of an autoencoder and validation samples: `reconstructions.png`, and `latent.png` where there is an encoder.

    Args:
        parts: as `in_raw_units_of` gives them.
        source: samples as the user gave them.
    """
    validation = source.validation
    shown = {label: np.asarray(values, np.float32)
             for label, values in task.shown(parts["model"], validation, np.arange(min(_PICTURES, validation.count))).items()}
    picture = picture_shape(validation.fields[SAMPLES].shape)
    if picture:
        plot_reconstructions({label: values.reshape(-1, *picture) for label, values in shown.items()},
                             folder / "reconstructions.png")
    else:
        plot_profiles({label: values[:_PROFILES].reshape(min(_PROFILES, len(values)), -1) for label, values in shown.items()},
                      folder / "reconstructions.png")
    seen = look(task, parts, validation)
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
        **{name: value for name, value in of_model.items() if name.startswith("val_")},
        "seconds": sum(record["seconds"] for record in records) if records else None,
        "samples_per_second": timed_samples / timed_seconds if timed_seconds else None,
        **{name: sum(record[name] for record in records) if records else None
           for name in ("communication_seconds", "bytes_sent_per_rank", "bytes_decoded", "input_seconds")},
        "data_bytes": data_bytes,
        "weights_checksum": f"{checksum:016x}",
        "in_sync": last.get("in_sync"),
        "versions": versions(),
    }
