"""Using a finished run's model on ranks: its losses on any data, and its reconstructions."""

import json
import tomllib

import keras
import numpy as np

from hvd_ae.collectives.agree import refused_by_all, together
from hvd_ae.collectives.engine import Engine
from hvd_ae.collectives.start import start
from hvd_ae.config import TrainSettings
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.samples import Samples, check_rows
from hvd_ae.data.sources import load_all
from hvd_ae.errors import Refused
from hvd_ae.models.build import find_function
from hvd_ae.models.losses import LOSSES
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runs.outcome import scaled
from hvd_ae.training.prepare import load_on_all


def evaluate_run(run: str, data: str | None, batch_size: int) -> dict[str, float]:
    """Mean losses of a run's model over all samples, printed by the root as JSON (every rank calls it).

    Args:
        run: the run folder.
        data: a path, all of whose samples count, or a name, whose validation samples do; None takes the run's own.

    Raises:
        Refused: on every rank, when there is no such run, or the data do not fit its model.
    """
    settings, model, collectives = open_run(run)
    samples = _samples(settings, data, model, collectives)
    share = plan_evaluation(samples.count, collectives.world)
    sums = np.zeros(2)
    for inputs, outputs in _outputs(model, samples, share, batch_size):
        sums += [float(np.sum(LOSSES[name](inputs, outputs))) for name in (settings.loss, "mse")]
    loss, mse = (collectives.sum(sums).numpy() / samples.count).tolist()
    figures = {"val_loss": loss, "val_mse": mse, "samples": samples.count, "ranks": collectives.world.size}
    if collectives.world.is_root:
        print(json.dumps(figures), flush=True)
    return figures


def reconstruct_run(run: str, data: str, output: str, batch_size: int) -> None:
    """Write the model's outputs for every sample, in the data's order, as float32 .npy (every rank calls it).

    All ranks work on one stretch of the rows at a time, so no rank ever holds all the outputs.
    """
    settings, model, collectives = open_run(run)
    world = collectives.world
    samples = _samples(settings, data, model, collectives)
    shape = (samples.count, *samples.sample_shape)
    file = together(collectives, lambda: _create(output, shape) if world.is_root else None)
    for first in range(0, samples.count, batch_size * world.size):
        rows = min(batch_size * world.size, samples.count - first)
        share = first + plan_evaluation(rows, world)
        mine = [outputs.ravel() for _, outputs in _outputs(model, samples, share, batch_size)]
        gathered = collectives.all_gather(np.concatenate([*mine, np.zeros(0, np.float32)])).numpy()
        if world.is_root:
            file[first : first + rows] = gathered.reshape(rows, *samples.sample_shape)
    if world.is_root:
        file.flush()
        print(f"{samples.count:,} reconstructions of shape {samples.sample_shape} are in {output}", flush=True)


def open_run(run: str, part: str = "model") -> tuple[TrainSettings, keras.Model, Engine]:
    """The settings of a run folder, and its `model` or its `encoder`, on every rank.

    Raises:
        Refused: on every rank, when there is no such run, or what is asked for is not in it or cannot be loaded.
    """
    settings = _read_settings(RunFolder(run))
    collectives = start(settings.collectives if settings.collectives != "single" else None, settings.threads)

    def load_model() -> keras.Model:
        if ":" in settings.model:
            find_function(settings.model)  # registers the user's own layers
        path = RunFolder(run).path / f"{part}.keras"
        if part == "encoder" and not path.exists() and path.with_name("model.keras").exists():
            raise Refused(f"{run} has no encoder.keras, since no layers lead from its model's input to a code: train a model "
                          "made of layers, such as a keras.Sequential")
        try:
            return keras.saving.load_model(path, compile=False)
        except (OSError, ValueError) as error:
            raise Refused(f"{path} cannot be loaded ({str(error).splitlines()[0]}): did the run end?") from None
        except TypeError as error:
            why = str(error).split(". ")[0].strip().splitlines()[-1]
            raise Refused(f"{path} cannot be loaded ({why}): a class of your own needs the decorator "
                          "keras.saving.register_keras_serializable() and an __init__ that passes **kwargs on; give it "
                          "these and train again") from None

    return settings, together(collectives, load_model), collectives


def _read_settings(folder: RunFolder) -> TrainSettings:
    try:
        table = tomllib.loads(folder.config.read_text(encoding="utf-8"))
        return TrainSettings(**table)
    except OSError:
        raise Refused(f"{folder.path} holds no config.toml: give the folder of a run, such as `hvd-ae train` names at its "
                      "end") from None
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"{folder.config} cannot be read ({error}): was it written by another version?") from None


def _samples(settings: TrainSettings, data: str | None, model: keras.Model, collectives: Engine) -> Samples:
    if data is None:
        samples = load_on_all(settings, collectives).validation
    else:
        is_first_on_node = collectives.world.local_rank == 0
        together(collectives, lambda: ensure_downloaded(data) if is_first_on_node else None)
        samples = together(collectives, lambda: load_all(data))
    # a model that is a class knows the shape it was built for only
    expected = tuple(getattr(model, "input_shape", None) or model.get_build_config()["input_shape"])[1:]
    if samples.sample_shape != expected:
        raise refused_by_all(f"data={samples.name!r} has samples of shape {samples.sample_shape}, but the model takes "
                             f"{expected}: give data of that shape")
    share = plan_evaluation(samples.count, collectives.world)
    together(collectives, lambda: check_rows(samples, share))
    return samples


def _outputs(model: keras.Model, samples: Samples, share: np.ndarray, batch_size: int):
    """Inputs and outputs of the model, batch by batch."""
    for first in range(0, len(share), batch_size):
        inputs = scaled(samples, share[first : first + batch_size])
        yield inputs, np.asarray(model(inputs, training=False), np.float32)


def _create(output: str, shape: tuple[int, ...]) -> np.memmap:
    try:
        return np.lib.format.open_memmap(output, mode="w+", dtype=np.float32, shape=shape)
    except OSError as error:
        raise Refused(f"output={output!r} cannot be written ({error.strerror}): give another path") from None
