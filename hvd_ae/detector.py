"""A detector of odd samples as PyOD and scikit-learn have them, on any number of ranks and for data of any size."""

import dataclasses
import functools
import json
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.load import fingerprint
from hvd_ae.data.normalized import Normalized
from hvd_ae.data.source import SAMPLES, Part, Source, Splits
from hvd_ae.errors import Refused
from hvd_ae.inference.blocks import Blocks, Unit
from hvd_ae.inference.gaussian import Gaussian, measure_gaussian
from hvd_ae.inference.ranking import quantiles
from hvd_ae.inference.scores import Parts, Scoring
from hvd_ae.runs.files import replacing, write_atomically
from hvd_ae.runs.outcome import in_raw_units_of, save_models
from hvd_ae.runtime.consensus import refused_on_all, run_on_all, same_on_all
from hvd_ae.runtime.log import let_root_speak
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.tasks.task import Task
from hvd_ae.training.samples import samples_on_all
from hvd_ae.training.session import Session

# What training is told where the user says nothing, the same for all data: docs/detector.md says how it was chosen.
_DEFAULTS = {"normalize": "standard", "task": "denoising", "noise": "gaussian:0.3", "model": "dense", "widths": "64",
             "code": 32}
# what goes with a default, and is not said where another is chosen
_OF_DEFAULT = {"task": ("noise",), "model": ("widths", "code")}
_GLOBAL_BATCH, _FEWEST_STEPS, _MOST_STEPS = 128, 400, 20_000
_FILE, _REFERENCE = "detector.json", "reference.npz"


class Detector(OutlierMixin, BaseEstimator):
    """Odd samples are those that a denoising autoencoder, trained on all or on normal ones, gives back or encodes unusually.

    The score is the squared Mahalanobis distance of a sample's reconstruction error and code together from those of the
    training samples (`scoring="mahalanobis"`), or another of `hvd-ae score`. Under a launcher every rank calls each method
    with the same samples, and gets the same results, those of all samples.

    Samples are an array (samples, features), or the name or path of data of any size, as `hvd-ae train --data` takes it.

    Args:
        contamination: the share of training samples that lies above the threshold, above 0 and at most 0.5.
        scoring: mahalanobis, mse, mae or code-distance.
        convention: "pyod", where `predict` gives 1 for odd samples and 0 for others, and `decision_function` rises with
            oddness; or "sklearn", where `predict` gives -1 for odd and 1 for others, and odd samples lie below 0.
        random_state: seed of the first weights and of the order of samples; None is 0.
        settings: any of `hvd-ae train`, such as `epochs`, `model`, `normalize`; the defaults of docs/detector.md otherwise.

    decision_scores_: the training samples' scores, float32 (samples,), the higher the odder.
    threshold_: above which a score is odd, a float.
    labels_: of the training samples, as `predict` gives them.
    offset_: what `decision_function` is `score_samples` less of, in scikit-learn's convention.

    Raises:
        Refused: a ValueError of one sentence, on every rank, where samples or settings cannot be used.
    """

    def __init__(self, contamination=0.01, *, scoring="mahalanobis", convention="pyod", random_state=0, **settings):
        self.contamination, self.scoring, self.convention, self.random_state = contamination, scoring, convention, random_state
        self.settings = settings

    def get_params(self, deep=True):
        """The arguments of the constructor, those of training among them."""
        own = {name: getattr(self, name) for name in ("contamination", "scoring", "convention", "random_state")}
        return {**own, **self.settings}

    def set_params(self, **params):
        """Change them; returns the detector."""
        for name, value in params.items():
            if name in ("contamination", "scoring", "convention", "random_state"):
                setattr(self, name, value)
            elif name in {field.name for field in dataclasses.fields(TrainSettings)}:
                self.settings = {**self.settings, name: value}
            else:
                raise ValueError(f"Invalid parameter {name!r} for estimator {type(self).__name__}: no setting of training")
        return self

    def fit(self, X, y=None):
        """Train on these samples, and measure the threshold of them."""
        return self._fit(X, None)

    def partial_fit(self, X, y=None):
        """Train on with more samples, normalized as the first ones were; threshold and scores are then of these.

        The optimizer starts anew.
        """
        return self._fit(X, self.inner_ if hasattr(self, "inner_") else None)

    def _fit(self, X, inner: keras.Model | None):
        if not 0 < self.contamination <= 0.5:
            raise Refused(f"contamination={self.contamination} must be above 0 and at most 0.5: try 0.01")
        if self.convention not in ("pyod", "sklearn"):
            raise Refused(f"convention={self.convention!r} is not known: use pyod or sklearn")
        if self.scoring not in ("mahalanobis", "mse", "mae", "code-distance"):
            raise Refused(f"scoring={self.scoring!r} is not known: use mahalanobis, mse, mae or code-distance")
        comm = _communicator(self.settings.get("collectives"), self.settings.get("threads"))
        source = self._source(X, comm, is_first=inner is None)
        settings = run_on_all(comm, lambda: self._training(source.count, comm))
        if inner is not None:
            settings = dataclasses.replace(settings, normalize="none", normalize_per=None)
        seen = source if inner is None else Normalized(source, {SAMPLES: self.normalization_})
        few = Part(seen, 0, min(source.count, _GLOBAL_BATCH))  # nothing is decided by it
        task = run_on_all(comm, lambda: _reconstructing(settings, inner))
        with Session(settings, comm, Splits(seen, few), task) as session:
            session.run()
            flat, strategy, fields = session.learner.flat, session.strategy, session.source.train.fields
            parameters, buffers = strategy.result
            self.inner_ = flat.write(parameters.numpy(), buffers.numpy(), [each.numpy() for each in strategy.result_counters])
        self.normalization_ = fields[SAMPLES].normalization
        parts = in_raw_units_of(task, fields, self.inner_)
        self.model_, self.encoder_ = parts["model"], parts.get("encoder")
        self.is_wrapped_ = self.normalization_ is not None and task.output_field == SAMPLES
        self._measure(source, comm)
        return self

    def _measure(self, source: Source, comm: Communicator) -> None:
        self.sample_shape_ = tuple(source.fields[SAMPLES].shape)
        self._scoring = None
        scoring = Scoring(self.scoring, self._parts(source))
        self.reference_ = None
        if scoring.needs_reference:
            self.reference_ = measure_gaussian(Blocks(scoring.vectors, source, [SAMPLES], comm), comm)
        own, numbers = self._own_scores(source, comm)
        self.threshold_ = quantiles(own, [1.0 - self.contamination], comm)[0]
        self.offset_ = -self.threshold_
        self.decision_scores_ = _together(own, numbers, source.count, comm)
        self.lowest_, self.highest_ = float(self.decision_scores_.min()), float(self.decision_scores_.max())
        self.labels_ = self._labels(self.decision_scores_)

    def decision_function(self, X):
        """How odd each sample is, float64 (samples,); in scikit-learn's convention how far from odd, odd ones below 0."""
        scores = self._scores(X)
        return scores if self.convention == "pyod" else self.threshold_ - scores

    def score_samples(self, X):
        """How normal each sample is, float64 (samples,): the score, turned round."""
        return -self._scores(X)

    def predict(self, X):
        """Whether each sample is odd, int64 (samples,): 1 and 0, or -1 and 1 in scikit-learn's convention."""
        return self._labels(self._scores(X))

    def predict_proba(self, X):
        """(samples, 2): of being normal and odd, where the lowest training score is 0 and the highest 1, as in PyOD."""
        odd = np.clip((self._scores(X) - self.lowest_) / max(self.highest_ - self.lowest_, 1e-300), 0.0, 1.0)
        return np.stack([1.0 - odd, odd], axis=1)

    def fit_predict(self, X, y=None):
        """`labels_` after `fit`."""
        return self.fit(X).labels_

    def save(self, path) -> None:
        """Write the detector into a folder, made where there is none: Keras's models, numbers, and JSON; nothing pickled.

        Under a launcher every rank calls it, and the root writes.
        """
        check_is_fitted(self)
        comm, folder = _communicator(self.settings.get("collectives"), self.settings.get("threads")), Path(path)

        def write() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            save_models({"model": self.model_, **({} if self.encoder_ is None else {"encoder": self.encoder_})}, folder)
            if self.reference_ is not None:
                with replacing(folder / _REFERENCE) as partial:
                    self.reference_.save(partial)
            kept = {"params": self.get_params(), "threshold": self.threshold_, "lowest": self.lowest_,
                    "highest": self.highest_, "sample_shape": self.sample_shape_,
                    "is_wrapped": self.is_wrapped_, "n_features_in": self.n_features_in_}
            write_atomically(folder / _FILE, json.dumps(kept, indent=2) + "\n")

        run_on_all(comm, lambda: write() if comm.world.is_root else None)

    @classmethod
    def load(cls, path) -> "Detector":
        """What `save` wrote, ready to judge; to be trained it has to be fitted anew.

        Raises:
            Refused: it is not there, or damaged.
        """
        folder = Path(path)
        try:
            kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            made = cls(**kept["params"])
            made.model_ = keras.saving.load_model(folder / "model.keras", compile=False)
            encoder = folder / "encoder.keras"
            made.encoder_ = keras.saving.load_model(encoder, compile=False) if encoder.exists() else None
            made.reference_ = Gaussian.load(folder / _REFERENCE) if (folder / _REFERENCE).exists() else None
            made.threshold_, made.lowest_, made.highest_ = (float(kept[name]) for name in ("threshold", "lowest", "highest"))
            made.sample_shape_, made.is_wrapped_ = tuple(kept["sample_shape"]), bool(kept["is_wrapped"])
            made.n_features_in_, made.offset_, made._scoring = int(kept["n_features_in"]), -made.threshold_, None
            return made
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise Refused(f"{path} holds no detector that can be loaded ({error}): give the folder that `save` wrote"
                          ) from None

    def _scores(self, X) -> np.ndarray:
        check_is_fitted(self)
        comm = _communicator(self.settings.get("collectives"), self.settings.get("threads"))
        source = self._source(X, comm, is_first=False)
        own, numbers = self._own_scores(source, comm)
        return _together(own, numbers, source.count, comm).astype(np.float64)

    def _own_scores(self, source: Source, comm: Communicator) -> tuple[np.ndarray, np.ndarray]:
        """The scores of this rank's share, float32, and the numbers of its samples."""
        if source.fields[SAMPLES].shape != self.sample_shape_:
            raise refused_on_all(f"X has samples of shape {source.fields[SAMPLES].shape}, but the detector was fitted to "
                                 f"{self.sample_shape_}: give such samples")
        if self._scoring is None:
            self._scoring = tf.function(Scoring(self.scoring, self._parts(source), self.reference_).scores)
        found, numbers = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]

        def keep(unit: Unit) -> None:
            if not np.isfinite(unit.outputs["scores"]).all():
                raise Refused("X holds samples whose scores are no finite numbers: their values are too large for float32")
            found.append(unit.outputs["scores"])
            numbers.append(np.arange(unit.first, unit.end))

        Blocks(self._scoring, source, [SAMPLES], comm).each(keep)
        return np.concatenate(found), np.concatenate(numbers)

    def _parts(self, source: Source) -> Parts:
        return Parts(self.model_, self.encoder_, self.is_wrapped_, source.fields)

    def _labels(self, scores: np.ndarray) -> np.ndarray:
        is_odd = scores.astype(np.float64) > self.threshold_
        return is_odd.astype(np.int64) if self.convention == "pyod" else np.where(is_odd, -1, 1)

    def _source(self, X, comm: Communicator, is_first: bool) -> Source:
        """The samples, the same on all ranks."""
        if isinstance(X, Source):
            return X
        if isinstance(X, (str, Path)):
            source = samples_on_all(str(X), self._training(2, comm), comm)
            self.n_features_in_ = math.prod(source.fields[SAMPLES].shape)
            return source
        values = validate_data(self, X, dtype=np.float32, reset=is_first, ensure_min_samples=2 if is_first else 1)
        source = from_arrays("X", values)
        if not same_on_all(comm, fingerprint(Splits(source, source))):
            raise refused_on_all("X is not the same on all ranks: give every rank all samples, or a path")
        return source

    def _training(self, count: int, comm: Communicator) -> TrainSettings:
        """The settings of a training on so many samples: by default enough steps for few, and a pass over many."""
        others = {name for chosen, own in _OF_DEFAULT.items() if chosen in self.settings for name in own}
        given = {name: value for name, value in _DEFAULTS.items() if name not in others} | self.settings
        ranks = comm.world.size
        given.setdefault("batch_size", max(1, _GLOBAL_BATCH // ranks))
        per_epoch = math.ceil(count / (given["batch_size"] * ranks))
        if "epochs" not in given and "steps" not in given:
            given["steps"] = min(max(per_epoch, _FEWEST_STEPS), _MOST_STEPS)
        if "epochs" not in given:
            given["epochs"] = math.ceil(given["steps"] / per_epoch)
        given |= {"seed": _seed(self.random_state), "collectives": comm.name, "quiet": True}
        try:
            return TrainSettings(**given).resolved()
        except TypeError as error:
            raise Refused(f"{error}: see hvd-ae train --help for what training can be told") from None

    def __getstate__(self):
        return {**super().__getstate__(), "_scoring": None}  # a graph, which is traced again


def _reconstructing(settings: TrainSettings, trained: keras.Model | None) -> Task:
    """The task of the settings; with a model that was trained already, its own begins with what that has learnt.

    Raises:
        Refused: it gives no samples back.
    """
    task = task_of(settings)
    if not task.reconstructs:
        raise Refused(f"task={settings.task!r} does not give samples back, which a detector judges by: use reconstruction, "
                      "denoising or variational")
    if trained is not None:
        build = task.build_model

        def going_on(spec):
            model = build(spec)
            model.set_weights(trained.get_weights())
            return model

        task.build_model = going_on
    return task


@functools.cache
def _communicator(engine: str | None, threads: int | None) -> Communicator:
    """MPI is started once in a process; a detector says no more than warnings."""
    comm = start(engine, threads)
    let_root_speak(comm.world.is_root, "warning")
    return comm


def _together(own: np.ndarray, numbers: np.ndarray, count: int, comm: Communicator) -> np.ndarray:
    """All ranks' scores in the order of the samples, on every rank."""
    scores, places = comm.all_gather(own).numpy(), comm.all_gather(numbers).numpy()
    together = np.empty(count, np.float32)
    together[places] = scores
    return together


def _seed(random_state) -> int:
    if random_state is None:
        return 0
    return int(random_state) if not isinstance(random_state, np.random.RandomState) else int(random_state.randint(2**31))
