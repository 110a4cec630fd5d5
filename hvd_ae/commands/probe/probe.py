"""`hvd-ae probe`: four classifiers of one run's data, trained and judged alike, and what they come to."""

import dataclasses
import math
from dataclasses import dataclass

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.probe.classifiers import Judgement, judge_fine_tuned, judge_linear
from hvd_ae.commands.probe.confusion import plot_confusion
from hvd_ae.commands.probe.features import principal_components, transformed
from hvd_ae.config import TrainSettings
from hvd_ae.data.samples import Samples
from hvd_ae.data.sources import Source
from hvd_ae.errors import Refused
from hvd_ae.inference import open_run
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.folder import RunFolder, as_json
from hvd_ae.runs.outcome import versions
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.training.session import load_on_all

_MOST_CLASSES = 1000
TITLES = {"codes": "linear, on frozen codes", "fine_tuned": "fine-tuned encoder", "pixels": "linear, on raw values",
          "pca": "linear, on principal components"}


@dataclass(frozen=True)
class Probe:
    """What the four classifiers came to."""

    classes: list[int]  # the labels
    widths: dict[str, int]  # features that each classifier sees
    explained: float  # share of the training samples' variance that the principal components hold
    judgements: dict[str, Judgement]


def probe(run: str, settings: TrainSettings) -> Probe:
    """Judge a run's codes, and write `probe.json` and `probe.png` into its folder (every rank calls it).

    Args:
        settings: effective ones, how the encoder is fine-tuned, and how ranks are kept together in all four trainings;
            data and seed are the run's.

    Raises:
        Refused: on every rank, where there is no such run, no encoder in it, or no labels.
    """
    run_settings, encoder, comm = open_run(run, "encoder")
    settings = dataclasses.replace(settings, data=run_settings.data, seed=run_settings.seed)
    source = load_on_all(run_settings, comm)
    source, classes = run_on_all(comm, lambda: with_numbered_labels(source))
    result = probe_encoder(settings, comm, source, encoder, classes)
    if comm.world.is_root:
        _write(RunFolder(run), result, settings, source, comm)
    return result


def probe_encoder(settings: TrainSettings, comm: Communicator, source: Source, encoder: keras.Model,
                  classes: list[int]) -> Probe:
    """Train and judge the four; the encoder is left as it is."""
    codes_width = math.prod(encoder.output_shape[1:])
    width = min(codes_width, math.prod(source.train.sample_shape))
    components = principal_components(source.train, width, comm)

    def features(function, width: int, name: str) -> Source:
        return Source(*(transformed(samples, function, width, name, comm)
                        for samples in (source.train, source.validation)))

    def linear(of: Source) -> Judgement:
        return judge_linear(settings, comm, of, len(classes))

    codes = features(lambda values: encoder(values, training=False), codes_width, "codes")
    judgements = {"codes": linear(codes),
                  "fine_tuned": judge_fine_tuned(settings, comm, source, encoder, len(classes)),
                  "pixels": linear(source),
                  "pca": linear(features(components.of, width, "principal components"))}
    widths = {"codes": codes_width, "pixels": math.prod(source.train.sample_shape), "pca": width, "fine_tuned": codes_width}
    return Probe(classes, widths, components.explained, judgements)


def with_numbered_labels(source: Source) -> tuple[Source, list[int]]:
    """The source with its labels replaced by 0, 1, ..., and what they were.

    Raises:
        Refused: no labels, or too many kinds.
    """
    if source.train.labels is None or source.validation.labels is None:
        raise Refused(f"data={source.train.name!r} has no labels for training and validation samples both, and a probe tells "
                      "labels: put them in NAME.labels.npy beside NAME.npy")
    classes = np.unique(np.concatenate([source.train.labels, source.validation.labels]))
    if len(classes) > _MOST_CLASSES:
        raise Refused(f"data={source.train.name!r} has {len(classes)} different labels, and a probe tells at most "
                      f"{_MOST_CLASSES}: give each sample its class as label")

    def numbered(samples: Samples) -> Samples:
        return dataclasses.replace(samples, labels=np.searchsorted(classes, samples.labels))

    return Source(numbered(source.train), numbered(source.validation)), classes.tolist()


def _write(folder: RunFolder, result: Probe, settings: TrainSettings, source: Source, comm: Communicator) -> None:
    """`probe.json`, `probe.png`, and a table on the screen (root)."""
    rows = {name: {"width": result.widths[name], **judgement.row()} for name, judgement in result.judgements.items()}
    figures = {
        "data": settings.data, "classes": result.classes, "train_samples": source.train.count,
        "test_samples": source.validation.count, "ranks": comm.world.size, "collectives": comm.name,
        "averaging": settings.averaging, "sync_every": settings.sync_every, "pca_explained_variance": result.explained,
        **rows, "versions": versions(),
    }
    write_atomically(folder.path / "probe.json", as_json(figures, indent=2) + "\n")
    titles = {f"{TITLES[name]}: {judgement.accuracy:.2%}": judgement.confusion
              for name, judgement in result.judgements.items()}
    plot_confusion(titles, result.classes, folder.path / "probe.png")
    print(f"test accuracy over {source.validation.count:,} samples of {len(result.classes)} classes:")
    for name, judgement in result.judgements.items():
        print(f"{judgement.accuracy:8.2%}  {TITLES[name]} ({result.widths[name]} features)")
    print(f"figures and confusion matrices are in {folder.path / 'probe.json'} and probe.png", flush=True)
