"""`model.fit` on ranks: for somebody who has a compiled Keras model and arrays in memory."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from hvd_ae.api import Session
from hvd_ae.averaging.strategy import of_rank
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.collectives.start import start
from hvd_ae.data.memory import source_of, splits_of
from hvd_ae.data.source import SAMPLES, TARGETS, Source, Splits
from hvd_ae.errors import Refused
from hvd_ae.models.compiled import check_compiled, ema_of, optimizer_of
from hvd_ae.models.flat import replace
from hvd_ae.models.schedules import Shifted
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.compiled import WEIGHT, Compiled
from hvd_ae.training.callbacks import Callback

# what the compiled model and the arguments say themselves
_SAID = {"model": "the model", "loss": "compile()", "optimizer": "compile()", "optimizer_settings": "compile()",
         "learning_rate": "compile()", "data": "x", "targets": "y", "labels": "y", "validation_data": "validation",
         "validation_split": "validation", "task": "compile()"}
_OF_SCHEDULES = ("schedule", "warmup_epochs", "lr_scaling")


@dataclass
class History:
    """What a training came to, as Keras's `History` has it."""

    model: keras.Model
    history: dict[str, list[float]] = field(default_factory=dict)  # by name, a number an epoch
    epoch: list[int] = field(default_factory=list)  # from 0
    run_dir: Path | None = None
    summary: dict = field(default_factory=dict)  # what `summary.json` holds


def fit(model: keras.Model, x, y=None, sample_weight=None, validation=None, comm: Communicator | None = None,
        callbacks: Sequence[Callback] = (), **settings) -> History:
    """Train a compiled model; every rank of the job calls it with the same samples, of which each takes its part.

    Its loss, loss weight, metrics and optimizer, with the learning rate and all settings, are those that it is compiled
    with; what cannot be had on ranks is refused by name. At the end the model has the trained parameters on every rank; its
    optimizer is as it was. Metrics are of the validation samples.

    Args:
        model: compiled, with one input and one output.
        x: samples (count, ...) as the model takes them, or a `Source` or `Splits` (which need no y).
        y: targets (count, ...); without them the samples are.
        sample_weight: (count,), a factor of each sample's loss.
        validation: (x, y) or (x, y, sample_weight); an array of samples; or the share of the last samples, 0.1 by default.
        settings: those of `hvd_ae.TrainSettings`, such as epochs=5, batch_size=64 (a rank), averaging="parameter".

    Raises:
        Refused: on every rank, where any of these cannot be honoured.
    """
    comm = comm or start(settings.get("collectives"), settings.get("threads"))
    given = run_on_all(comm, lambda: _settings(model, settings))
    source = run_on_all(comm, lambda: _splits(x, y, sample_weight, validation))
    task = run_on_all(comm, lambda: Compiled(model, source.train.fields))
    rate, make = run_on_all(comm, lambda: optimizer_of(model))
    own = {"optimizer": make}
    if callable(rate):
        own["schedule"] = lambda updates: Shifted(rate)
    else:
        given = dataclasses.replace(given, learning_rate=rate)
    before, model.compiled = model.get_weights(), False  # else it would be refused as one whose compile() is passed over
    try:
        with Session(given, comm, source, task, callbacks, **own) as session:
            history = History(model)
            for record in session.run():
                _append(history, record, task)
            _write(session)
            before = model.get_weights()
        history.run_dir, history.summary = session.result.run_dir, session.result.summary
        return history
    finally:
        _restore(model, before)
        model.compiled = True


def _settings(model: keras.Model, given: dict) -> TrainSettings:
    check_compiled(model)
    known = [each.name for each in dataclasses.fields(TrainSettings)]
    for name, value in given.items():
        if name in _SAID:
            raise Refused(f"{name}={value!r} is said by {_SAID[name]} in fit: leave it out")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "see hvd_ae.TrainSettings"
            raise Refused(f"{name}={value!r} is no setting: {hint}")
    rate, _ = optimizer_of(model)
    for name in _OF_SCHEDULES:
        if callable(rate) and name in given:
            raise Refused(f"{name}={given[name]!r} has no effect where compile() gives a schedule of the learning rate: "
                          "drop it, or compile with a number")
    if (ema := ema_of(model)) is not None:
        given = {"ema": ema, **given}
    kind = type(model.optimizer).__name__.lower()
    config = {name: value for name, value in model.optimizer.get_config().items() if isinstance(value, (bool, int, float))}
    config.pop("learning_rate", None)
    said = ",".join(f"{name}={value}" for name, value in sorted(config.items()))
    return TrainSettings(**{"data": "memory", "model": f"fit:{model.name}", "optimizer": kind, "optimizer_settings": said,
                            **given}).resolved()


def _splits(x, y, sample_weight, validation) -> Splits:
    if isinstance(x, (Source, Splits)):
        if y is not None or sample_weight is not None or validation is not None:
            raise Refused("y, sample_weight and validation have no effect where x is a Source, whose fields are "
                          f"{SAMPLES}, {TARGETS} and {WEIGHT}: leave them out")
        return splits_of(x)
    train = source_of(_fields(x, y, sample_weight), as_they_are=True)
    if validation is None or isinstance(validation, float):
        return splits_of(train, validation)
    parts = validation if isinstance(validation, (tuple, list)) else (validation,)
    if not 1 <= len(parts) <= 3:
        raise Refused(f"validation is {len(parts)} things: give (x, y), (x, y, sample_weight), an array, or a share like 0.1")
    fields = _fields(*parts, *[None] * (3 - len(parts)))
    if WEIGHT in train.fields and WEIGHT not in fields:
        fields[WEIGHT] = np.ones(len(fields[SAMPLES]), np.float32)
    own = source_of(fields, as_they_are=True)
    if {name: each.shape for name, each in own.fields.items()} != {name: each.shape for name, each in train.fields.items()}:
        raise Refused(f"validation has {', '.join(own.fields)} of other shapes than {', '.join(train.fields)} to train on: "
                      "give the same")
    return Splits(train, own)


def _fields(x, y, sample_weight) -> dict[str, np.ndarray]:
    given = {SAMPLES: x, TARGETS: y, WEIGHT: sample_weight}
    arrays = {name: np.asarray(values) for name, values in given.items() if values is not None}
    if WEIGHT in arrays and arrays[WEIGHT].shape != (len(arrays[SAMPLES]),):
        raise Refused(f"sample_weight has shape {arrays[WEIGHT].shape}: give one number for each of the "
                      f"{len(arrays[SAMPLES])} samples")
    return arrays


def _append(history: History, record: dict, task: Compiled) -> None:
    history.epoch.append(record["epoch"] - 1)
    figures = {"loss": record["train_loss"], "val_loss": record["val_loss"], "learning_rate": record["learning_rate"]}
    for name, value in {**figures, **{name: record[name] for name in task.metrics}}.items():
        history.history.setdefault(name, []).append(value)


def _write(session: Session) -> None:
    """Give every rank's model what the root has saved; without averaging the others had their own."""
    strategy, comm = session.training.strategy, session.training.comm
    parameters, buffers = (of_rank(0, variable, comm).numpy() for variable in strategy.result)
    session.training.learner.flat.write(parameters, buffers, [counter.numpy() for counter in strategy.result_counters])


def _restore(model: keras.Model, weights: list[np.ndarray]) -> None:
    """What the model held before, where the training has emptied its variables and failed."""
    for variable, value in zip(model.weights, weights):
        replace(variable.value, value)
