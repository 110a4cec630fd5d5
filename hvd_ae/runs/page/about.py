"""`about.json`: what is known of a run when it begins, beside its settings."""

import dataclasses
import math
import shlex
from datetime import datetime

from hvd_ae.models.schedules import scaled_rate
from hvd_ae.runtime.versions import versions
from hvd_ae.settings.fields import flag_of
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.session import Session

_OF_THIS_START = ("run_dir", "resume", "collectives")  # no part of what is trained


def about(session: Session) -> dict:
    """As plain values."""
    s, world, train = session.settings, session.comm.world, session.source.train
    return {
        "began": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        "command": command(s, world.size),
        "ranks": world.size,
        "nodes": world.nodes,
        "data": train.name,
        "training_samples": train.count,
        "validation_samples": session.source.validation.count,
        "fields": {name: [list(train.fields[name].shape), str(train.fields[name].dtype)] for name in session.task.fields},
        "data_bytes": session.input.data_bytes,
        "fingerprint": "".join(f"{number & 0xFFFFFFFFFFFFFFFF:016x}" for number in session.data_fingerprint),
        "shuffled": session.input.describe(),
        "steps_per_epoch": session.steps_per_epoch,
        "global_batch": s.batch_size * session.trainers.size,
        "learning_rate": scaled_rate(s.learning_rate, s.lr_scaling, session.trainers.size),
        "parameters": session.learner.flat.layout.size,
        "layers": layers(session.learner.flat.keras_model),
        "task": type(session.task).__name__,
        "versions": versions(),
    }


def command(settings: TrainSettings, ranks: int) -> str:
    """What repeats the run: every setting that is not as it would be by default."""
    words = ["hvd-ae", "train"] if ranks == 1 else ["mpirun", "-np", str(ranks), "hvd-ae", "train"]
    plain = TrainSettings(averaging=settings.averaging, model=settings.model, data=settings.data).resolved()
    for field in dataclasses.fields(TrainSettings):
        value = getattr(settings, field.name)
        is_default = value == field.default or (field.name not in ("averaging", "model", "data")
                                                and value == getattr(plain, field.name))
        if not is_default and value is not None and field.name not in _OF_THIS_START:
            words += [flag_of(field.name)] if value is True else [flag_of(field.name), shlex.quote(str(value))]
    return " ".join(words)


def layers(model) -> list[list]:
    """Name, kind, output's shape and parameters of each layer of a Keras model."""
    return [[layer.name, type(layer).__name__, list(getattr(getattr(layer, "output", None), "shape", ())[1:]),
             sum(math.prod(weight.shape) for weight in layer.weights)] for layer in getattr(model, "layers", ())]
