"""`hvd-ae probe`: four classifiers of one run's data, trained and evaluated alike, and what they come to."""

import dataclasses
import math
from dataclasses import dataclass

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.probe.classifiers import ClassifierResult, train_fine_tuned, train_linear
from hvd_ae.commands.probe.confusion import plot_confusion
from hvd_ae.commands.probe.features import principal_components, transformed
from hvd_ae.data.load import fingerprint
from hvd_ae.data.source import LABELS, SAMPLES, Field, Source, Splits, WithField
from hvd_ae.errors import Refused
from hvd_ae.models.autoencoders import input_of, to_code
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.folder import RunFolder, as_json
from hvd_ae.runs.opened import open_run
from hvd_ae.runs.page.page import write_page
from hvd_ae.runtime.consensus import refused_on_all, run_on_all
from hvd_ae.runtime.versions import versions
from hvd_ae.settings.commands import ProbeSettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.normalizing import normalized_on_all
from hvd_ae.training.samples import load_on_all

_MOST_CLASSES = 1000
TITLES = {"codes": "linear, on frozen codes", "fine_tuned": "fine-tuned encoder", "pixels": "linear, on raw values",
          "pca": "linear, on principal components"}


@dataclass(frozen=True)
class Probe:
    """What the four classifiers came to."""

    classes: list[int]  # the labels
    widths: dict[str, int]  # features that each classifier sees
    explained: float  # share of the training samples' variance that the principal components hold
    results: dict[str, ClassifierResult]


def probe(settings: ProbeSettings) -> None:
    """Say what a run's codes are worth: `probe.json` and `probe.png` in its folder (every rank calls it).

    Raises:
        Refused: on every rank, where there is no such run, no encoder in it, or no labels.
    """
    how = {name: getattr(settings, name) for name in ("epochs", "batch_size", "averaging", "sync_every")}
    training = TrainSettings(**how).resolved()
    of_run, encoder, comm = open_run(settings.run, "encoder")
    if isinstance(input_of(encoder), dict):
        raise refused_on_all(f"{settings.run} has codes of samples and a condition, and a probe gives none: probe a run "
                             "without one")
    encoder = to_code(encoder)
    training = dataclasses.replace(training, data=of_run.data, seed=of_run.seed)
    source = with_missing_filled(load_on_all(of_run, comm), of_run, comm)
    source, classes = run_on_all(comm, lambda: with_numbered_labels(source))
    result = probe_encoder(training, comm, source, encoder, classes)
    if comm.world.is_root:
        _write(RunFolder(settings.run), result, training, source, comm)


def with_missing_filled(source: Splits, of_run: TrainSettings, comm: Communicator) -> Splits:
    """The source with raw samples in which what is missing is filled in, as the run's settings say."""
    raw = dataclasses.replace(of_run, normalize="none")
    return normalized_on_all(source, [SAMPLES], raw, comm, fingerprint(source).tolist())[0]


def probe_encoder(settings: TrainSettings, comm: Communicator, source: Splits, encoder: keras.Model,
                  classes: list[int]) -> Probe:
    """Train and evaluate the four; the encoder is left as it is.

    Args:
        settings: resolved ones, how the encoder is fine-tuned, and how ranks are kept together in all four trainings.
    """
    codes_width = math.prod(encoder.output_shape[1:])
    values = math.prod(source.train.fields[SAMPLES].shape)
    width = min(codes_width, values)
    components = principal_components(source.train, width, comm)

    def features(function, width: int, name: str) -> Splits:
        return Splits(*(transformed(part, function, width, name, comm) for part in (source.train, source.validation)))

    def linear(of: Splits) -> ClassifierResult:
        return train_linear(settings, comm, of, len(classes))

    codes = features(lambda values: encoder(values, training=False), codes_width, "codes")
    results = {"codes": linear(codes),
               "fine_tuned": train_fine_tuned(settings, comm, source, encoder, len(classes)),
               "pixels": linear(source),
               "pca": linear(features(components.of, width, "principal components"))}
    widths = {"codes": codes_width, "pixels": values, "pca": width, "fine_tuned": codes_width}
    return Probe(classes, widths, components.explained, results)


def with_numbered_labels(source: Splits) -> tuple[Splits, list[int]]:
    """The source with its labels replaced by 0, 1, ..., and what they were.

    Raises:
        Refused: no labels, or too many kinds.
    """
    parts = (source.train, source.validation)
    if not all(LABELS in part.fields for part in parts):
        raise Refused(f"data={source.train.name!r} has no labels for training and validation samples both, and a probe tells "
                      "labels: put them in NAME.labels.npy beside NAME.npy")
    labels = [part.read_all(LABELS) for part in parts]
    classes = np.unique(np.concatenate(labels))
    if len(classes) > _MOST_CLASSES:
        raise Refused(f"data={source.train.name!r} has {len(classes)} different labels, and a probe tells at most "
                      f"{_MOST_CLASSES}: give each sample its class as label")

    def numbered(part: Source, labels: np.ndarray) -> Source:
        numbers = np.searchsorted(classes, labels)
        return WithField(part, LABELS, numbers, Field.of_classes(numbers))

    return Splits(*map(numbered, parts, labels)), classes.tolist()


def _write(folder: RunFolder, result: Probe, settings: TrainSettings, source: Splits, comm: Communicator) -> None:
    """`probe.json`, `probe.png`, and a table on the screen (root)."""
    records = {name: {"width": result.widths[name], **one.record()} for name, one in result.results.items()}
    figures = {
        "data": settings.data, "classes": result.classes, "train_samples": source.train.count,
        "test_samples": source.validation.count, "ranks": comm.world.size, "collectives": comm.name,
        "averaging": settings.averaging, "sync_every": settings.sync_every, "pca_explained_variance": result.explained,
        **records, "versions": versions(),
    }
    write_atomically(folder.path / "probe.json", as_json(figures, indent=2) + "\n")
    titles = {f"{TITLES[name]}: {one.accuracy:.2%}": one.confusion for name, one in result.results.items()}
    plot_confusion(titles, result.classes, folder.path / "probe.png")
    write_page(folder.path)  # with this part
    print(f"test accuracy over {source.validation.count:,} samples of {len(result.classes)} classes:")
    for name, one in result.results.items():
        print(f"{one.accuracy:8.2%}  {TITLES[name]} ({result.widths[name]} features)")
    print(f"figures and confusion matrices are in {folder.path / 'probe.json'} and probe.png", flush=True)
