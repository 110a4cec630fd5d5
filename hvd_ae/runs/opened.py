"""A finished run, opened on ranks to be used: its settings, its model or encoder, and samples that fit it."""

import tomllib
import zipfile
import zlib
from collections.abc import Mapping

import keras

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.data.checks import Range, check_some, some_of_share
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.load import load_all, named_beside
from hvd_ae.data.open import has_columns, is_file
from hvd_ae.data.source import CONDITION, LABELS, SAMPLES, Source
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import SAMPLE, input_of
from hvd_ae.models.build import find_function
from hvd_ae.runs.folder import RunFolder
from hvd_ae.runtime.consensus import refused_on_all, run_on_all
from hvd_ae.settings.tasks import check_tasks_settings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.tasks.task import Task
from hvd_ae.training.samples import load_on_all

# what Keras, zipfile and h5py raise of a file that is damaged
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile)


def open_run(run: str, part: str = "model", side_by_side: bool = False) -> tuple[TrainSettings, keras.Model, Communicator]:
    """The settings of a run folder, and its `model` or its `encoder`, on every rank.

    Args:
        side_by_side: how this rank's threads are used, as `start` says it.

    Raises:
        Refused: on every rank, when there is no such run, or what is asked for is not in it or cannot be loaded.
    """
    settings = _read_settings(RunFolder(run))
    comm = start(settings.collectives if settings.collectives != "single" else None, settings.threads,
                 side_by_side=side_by_side)
    return settings, load_part(run, part, settings, comm), comm


def load_part(run: str, part: str, settings: TrainSettings, comm: Communicator) -> keras.Model:
    """The run's `model` or its `encoder`, on every rank (every rank calls it).

    Raises:
        Refused: on every rank, when it is not there, or cannot be loaded.
    """

    def load_model() -> keras.Model:
        if ":" in settings.model:
            find_function(settings.model)  # registers the user's own layers
        path = RunFolder(run).path / f"{part}.keras"
        if part == "encoder" and not path.exists() and path.with_name("model.keras").exists():
            raise Refused(f"{run} has no encoder.keras, since no layers lead from its model's input to a code: train a model "
                          "made of layers, such as a keras.Sequential")
        if part == "decoder" and not path.exists() and path.with_name("model.keras").exists():
            raise Refused(f"{run} has no decoder.keras, since its model gives no samples back, or not from a code alone: use "
                          "a run of reconstruction, denoising or variational")
        try:
            return keras.saving.load_model(path, compile=False)
        except _DAMAGED as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise Refused(f"{path} cannot be loaded ({why}): did the run end, and is the file as it was written?") from None
        except TypeError as error:
            why = str(error).split(". ")[0].strip().splitlines()[-1]
            raise Refused(f"{path} cannot be loaded ({why}): a class of your own needs the decorator "
                          "keras.saving.register_keras_serializable() and an __init__ that passes **kwargs on; give it "
                          "these and train again") from None

    return run_on_all(comm, load_model)


def _read_settings(folder: RunFolder) -> TrainSettings:
    try:
        table = tomllib.loads(folder.config.read_text(encoding="utf-8"))
        settings = TrainSettings(**table)
        check_tasks_settings(settings)
        return settings
    except OSError:
        raise Refused(f"{folder.path} holds no config.toml: give the folder of a run, such as `hvd-ae train` names at its "
                      "end") from None
    except (TypeError, ValueError) as error:  # a name that is none of ours, or no TOML, or no text
        raise Refused(f"{folder.config} cannot be read ({error}): was it changed, or written by another version?") from None


def task_that_reconstructs(settings: TrainSettings) -> Task:
    """The task of a run whose model gives samples back.

    Raises:
        Refused: it gives something else.
    """
    task = task_of(settings)
    if not task.reconstructs:
        raise Refused(f"task={settings.task!r} gives no samples back, which is what this command is for: call the run's "
                      "model.keras from Python")
    return task


def samples_for(model: keras.Model, data: str | None, settings: TrainSettings, comm: Communicator,
                columns: str | None = None, beside: Mapping[str, str] | None = None, task: Task | None = None) -> Source:
    """All samples of a path, the validation samples of a name, or, with None, those of the run; each rank checks a share.

    Args:
        columns: of a table, those that make a sample, with commas between them; those of the run without it.
        beside: by field, what lies beside the samples; what the run found in the same file is looked for there.
        task: where more fields are wanted than the model is given, the one whose fields they are.

    Raises:
        Refused: on every rank, when they do not fit the model, or hold values that are not finite.
    """
    if data is None:
        source = load_on_all(settings, comm).validation
    else:
        is_first_on_node = comm.world.local_rank == 0
        run_on_all(comm, lambda: ensure_downloaded(data) if is_first_on_node else None)
        named = columns or (settings.columns if has_columns(data) else None)
        fields = task.fields if task else () if condition_of(model, settings) is None else (condition_of(model, settings),)
        members = {name: text for name, text in named_beside(settings).items() if name in fields and not is_file(text)}
        source = run_on_all(comm, lambda: load_all(data, beside={**members, **(beside or {})},
                                                   columns=tuple(named.split(",")) if named else ()))
    condition = condition_of(model, settings)
    if condition is not None and condition not in source.fields:
        raise refused_on_all(f"data={source.name!r} bring no {condition}, which this run's model takes beside samples: say by "
                             f"--{condition} where they are")
    # a model that is a class knows the shape it was built for only
    inputs = input_of(model)
    expected = tuple(inputs[SAMPLE].shape)[1:] if condition is not None else tuple(
        getattr(model, "input_shape", None) or model.get_build_config()["input_shape"])[1:]
    given = source.fields[SAMPLES].shape
    if given != expected:
        raise refused_on_all(f"data={source.name!r} has samples of shape {given}, but the model takes {expected}: give data "
                             "of that shape")
    run_on_all(comm, lambda: check_some(source, some_of_share(source, comm.world), SAMPLES, allowed_in(settings)))
    return source


def condition_of(model: keras.Model, settings: TrainSettings) -> str | None:
    """The field that a run's model or encoder is given beside samples; None where that is nothing."""
    if not isinstance(input_of(model), dict):
        return None
    return LABELS if settings.condition == LABELS else CONDITION


def beside_of(settings) -> dict[str, str]:
    """By field, where a command's settings say that the condition lies."""
    return {} if settings.condition is None else {CONDITION: settings.condition}


def allowed_in(settings: TrainSettings) -> Range:
    """The values that a run's model can be given."""
    return Range(missing=settings.missing != "refuse", logarithm=settings.normalize.startswith("log1p"))
