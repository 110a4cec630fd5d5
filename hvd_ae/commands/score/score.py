"""`hvd-ae score`: a number a sample, a threshold, and what lies above it."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.commands.outputs import digest_of_models, refuse_writing_over_input, write_outputs
from hvd_ae.commands.score.picture import draw_scores, histogram
from hvd_ae.commands.score.threshold import (
    FILE,
    REFERENCE,
    Threshold,
    check_scores,
    measure_threshold,
    reference_of,
    stored_reference,
    stored_threshold,
)
from hvd_ae.commands.score.worst import worst
from hvd_ae.data.checks import Range
from hvd_ae.data.load import fingerprint
from hvd_ae.data.source import LABELS, NUMBER, SAMPLES, Source, Splits
from hvd_ae.errors import NotWritten, Refused
from hvd_ae.inference.blocks import Blocks, Unit
from hvd_ae.inference.gaussian import Gaussian
from hvd_ae.inference.judging import judged_of, with_numbers
from hvd_ae.inference.ranking import Ranking, quantiles, rank
from hvd_ae.inference.scores import Parts, Scoring
from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.folder import as_json
from hvd_ae.runs.opened import allowed_in, beside_of, condition_of, load_part, open_run, samples_for, task_that_reconstructs
from hvd_ae.runs.page.page import write_page
from hvd_ae.runtime.consensus import broadcast_text, refused_on_all, run_on_all
from hvd_ae.runtime.log import log
from hvd_ae.settings.commands import ScoreSettings
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.task import Task
from hvd_ae.training.normalizing import rule_of
from hvd_ae.training.samples import load_on_all

_SHOWN_QUANTILES = (0.5, 0.9, 0.99)


def score(settings: ScoreSettings) -> None:
    """Score every sample, and write the scores, `score.json`, `score.png` and, for later data, the threshold.

    Every rank calls it, and keeps 5 bytes a sample of its share, for the exact quantiles.

    Raises:
        Refused: on every rank, when there is no such run, the data do not fit its model, or a score is no finite number.
        NotWritten: on every rank, when there is no room.
    """
    quantile = settings.wanted_quantile  # what cannot be is refused before anything runs
    of_run, model, comm = open_run(settings.run, side_by_side=True)
    task = run_on_all(comm, lambda: _scored(of_run))
    folder = Path(settings.run)
    output = settings.output or str(folder / "scores.npy")
    refuse_writing_over_input(output, settings.data, settings.run, of_run, comm, (FILE, REFERENCE, "score.json", "score.png"))
    digest = broadcast_text(comm, digest_of_models(folder) if comm.world.is_root else "")
    threshold = stored_threshold(settings.run, digest, comm)
    kind = settings.score or (threshold.score if threshold else "mse")
    if settings.asks_for_threshold or (threshold and threshold.score != kind):
        threshold = None

    judge = _Judge(settings, of_run, task, model, kind, comm)
    source = judge.samples()
    reference, threshold = judge.reference_and_threshold(source, threshold, quantile, digest)
    scoring = judge.scoring(source, reference)
    fields = [*judge.how["fields"], LABELS] if settings.labels else judge.how["fields"]
    blocks = Blocks(scoring.scores, source, fields, comm, {**judge.how["allowed"], LABELS: Range()}, settings.batch_size)
    kept = _Kept(settings, source)
    about = {"data": settings.data, "score": kind, "reference": "" if reference is None else _digest_of(reference)}
    write_outputs(blocks, "scores", output, settings.run, about, comm, kept.keep)

    own, numbers, is_odd = kept.together()
    ranking = rank(own, is_odd, threshold.threshold, comm) if settings.labels else None
    found = _summary(settings, source, threshold, own, ranking, comm)
    found["worst"] = worst(own, numbers, settings.worst, scoring, source, _names(settings, of_run, source), comm, **judge.how)
    bars = histogram(own, is_odd if settings.labels else None, comm)
    run_on_all(comm, lambda: _write(folder, found, bars, threshold) if comm.world.is_root else None, NotWritten)
    if comm.world.is_root:
        print(_said(found, output, folder), flush=True)


def _said_of(named: str | None) -> str:
    return "validation samples of the run" if named is None else f"samples of {named}"


class _Judge:
    """A run's models, and what of them a kind of score takes.

    how: the fields that it takes, what is allowed in them, and the samples of a block.
    """

    def __init__(self, settings: ScoreSettings, of_run: TrainSettings, task: Task, model: keras.Model, kind: str,
                 comm: Communicator):
        self._settings, self._of_run, self._task, self._kind, self._comm = settings, of_run, task, kind, comm
        others = [name for name in ("encoder", "decoder") if (Path(settings.run) / f"{name}.keras").exists()]
        self._models = {"model": model, **{name: load_part(settings.run, name, of_run, comm) for name in others}}
        self._condition = condition_of(model, of_run)
        if self._condition == LABELS and settings.labels:
            raise refused_on_all(f"labels={settings.labels!r} cannot say what is odd where labels are the condition that this "
                                 "run's model is given: drop --labels")
        fields = [SAMPLES, *([] if self._condition is None else [self._condition]), *([NUMBER] if kind == "elbo" else [])]
        self.how = {"fields": fields, "allowed": {SAMPLES: allowed_in(of_run)}, "batch_size": settings.batch_size}

    def samples(self) -> Source:
        """Those that are to be judged, with their labels."""
        settings = self._settings
        beside = beside_of(settings) | ({LABELS: settings.labels} if settings.labels else {})
        source = samples_for(self._models["model"], settings.data, self._of_run, self._comm, settings.columns, beside)
        run_on_all(self._comm, lambda: _refuse_text(source, settings) if settings.labels else None)
        return with_numbers(source)

    def scoring(self, source: Source, reference: Gaussian | None = None) -> Scoring:
        """By what the fields of these samples are: bytes in one file may be fractions in another."""
        settings, of_run, task, comm = self._settings, self._of_run, self._task, self._comm
        judged = judged_of(settings.run, of_run, task, self._models, source, comm) if self._kind == "elbo" else None
        is_wrapped = not rule_of(of_run).is_none and task.output_field == SAMPLES
        parts = Parts(self._models["model"], self._models.get("encoder"), is_wrapped, source.fields, self._condition)
        return run_on_all(comm, lambda: Scoring(self._kind, parts, reference, judged))

    def reference_and_threshold(self, source: Source, stored: Threshold | None, quantile: float | None, digest: str
                                ) -> tuple[Gaussian | None, Threshold]:
        """Those that the run folder keeps, or measured anew and kept there."""
        settings, of_run, comm, reference = self._settings, self._of_run, self._comm, None
        if self.scoring(source).needs_reference and stored:
            reference = stored_reference(settings.run, self.scoring(source), comm)
        elif self.scoring(source).needs_reference:
            train = load_on_all(of_run, comm).train
            reference = reference_of(self.scoring(train), train, comm, **self.how)
        if stored:
            return reference, stored
        named = settings.threshold_from
        normal = with_numbers(samples_for(self._models["model"], named, of_run, comm, settings.columns))
        _warn_of_same(normal, source, settings, comm)
        threshold = measure_threshold(self.scoring(normal, reference), normal, _said_of(named),
                                      quantile, digest, comm, **self.how)
        run_on_all(comm, lambda: threshold.keep_in(settings.run, reference) if comm.world.is_root else None, NotWritten)
        return reference, threshold


class _Kept:
    """This rank's scores, as they come: 5 bytes a sample."""

    def __init__(self, settings: ScoreSettings, source: Source):
        self._settings, self._source = settings, source
        self._units: list[tuple[int, np.ndarray, np.ndarray]] = []

    def keep(self, unit: Unit) -> None:
        scores, named = unit.outputs["scores"], self._settings.labels
        check_scores(scores, unit.first, self._source)
        labels = unit.outputs[LABELS] if LABELS in unit.outputs else (
            self._source.read(np.arange(unit.first, unit.end), [LABELS])[LABELS] if named else np.zeros(0))
        _check_labels(labels, unit.first, self._source, self._settings)
        self._units.append((unit.first, scores, labels != 0))

    def together(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scores, the numbers of their samples, and whether labels say that these are odd."""
        own = np.concatenate([np.zeros(0, np.float32), *(scores for _, scores, _ in self._units)])
        numbers = np.concatenate([np.zeros(0, np.int64),
                                  *(np.arange(first, first + len(scores)) for first, scores, _ in self._units)])
        return own, numbers, np.concatenate([np.zeros(0, bool), *(odd for _, _, odd in self._units)])


def _digest_of(reference: Gaussian) -> str:
    return f"{float(np.sum(reference.mean)):.17g} {float(np.sum(reference.precision)):.17g}"


def _scored(of_run: TrainSettings) -> Task:
    task = task_that_reconstructs(of_run)
    if task.target_field != SAMPLES:
        raise Refused(f"targets={of_run.targets!r} are what this run's outputs are compared with, and a score is of the "
                      "samples alone: score by a run whose outputs are the samples again")
    return task


def _refuse_text(source: Source, settings: ScoreSettings) -> None:
    names = source.fields[LABELS].names
    if names:
        raise Refused(f"labels={settings.labels!r} are text ({', '.join(names[:3])}), of which none is known to be normal: "
                      "give numbers, 0 for normal and 1 for odd")


def _check_labels(labels: np.ndarray, first: int, source: Source, settings: ScoreSettings) -> None:
    others = np.flatnonzero((labels != 0) & (labels != 1))
    if len(others):
        raise Refused(f"labels={settings.labels!r} say {labels[others[0]]} of sample {source.number(first + int(others[0]))}: "
                      "give 0 for normal samples and 1 for odd ones")


def _warn_of_same(normal: Source, judged: Source, settings: ScoreSettings, comm) -> None:
    same = np.array_equal(*(run_on_all(comm, lambda each=each: fingerprint(Splits(each, each))) for each in (normal, judged)))
    if same and not settings.threshold_from and comm.world.is_root:
        log.warning(f"data={settings.data!r} seem to be the run's own validation samples, of which the threshold is a "
                    "quantile: judge others, or name samples for it by --threshold-from")


def _names(settings: ScoreSettings, of_run, source: Source) -> list[str] | None:
    """Of the features, where a table's columns were chosen by name."""
    columns = settings.columns or of_run.columns
    names = columns.split(",") if columns else []
    return names if (len(names),) == source.fields[SAMPLES].shape else None


def _summary(settings: ScoreSettings, source: Source, threshold: Threshold, own: np.ndarray, ranking: Ranking | None,
             comm) -> dict:
    """What `score.json` holds, which is the same on any number of ranks."""
    above = int(comm.sum(np.array([np.sum(own.astype(np.float64) > threshold.threshold)], np.int64)).numpy()[0])
    shown = quantiles(own, [*_SHOWN_QUANTILES, 1.0], comm)
    return {
        "data": settings.data, "samples": source.count, "score": threshold.score,
        "threshold": threshold.threshold, "quantile": threshold.quantile, "threshold_of": threshold.of,
        "threshold_samples": threshold.samples, "above": above, "share_above": above / source.count,
        "quantiles": dict(zip([str(share) for share in _SHOWN_QUANTILES], shown)), "highest": shown[-1],
        "labels": None if ranking is None else asdict(ranking),
    }


def _write(folder: Path, found: dict, bars, threshold: Threshold) -> None:
    draw_scores(bars, threshold, folder / "score.png")
    write_atomically(folder / "score.json", as_json(found, indent=2) + "\n")
    write_page(folder)  # with this part


def _said(found: dict, output: str, folder: Path) -> str:
    lines = [f"{found['samples']:,} scores ({found['score']}) are in {output}; {found['above']:,} "
             f"({found['share_above']:.2%}) lie above {found['threshold']:.6g}, the {found['quantile']:g} quantile of "
             f"{found['threshold_samples']:,} {found['threshold_of']}"]
    if found["labels"]:
        of = found["labels"]
        lines.append(f"by labels: ROC AUC {of['roc_auc']:.4f}, average precision {of['average_precision']:.4f}, best F1 "
                     f"{of['best_f1']:.4f}")
    return "\n".join([*lines, f"more is in {folder / 'score.json'} and {folder / 'score.png'}"])
