"""Autoencoders, or any Keras model, trained on MPI ranks that average one flat vector, and proved to be in sync."""

import importlib

from hvd_ae.errors import NotWritten, OutOfSync, Refused, Stopped
from hvd_ae.settings.train import TrainSettings

# What needs TensorFlow, which takes seconds to import: not before it is asked for.
_LATER = {
    "Detector": "hvd_ae.detector", "train": "hvd_ae.api", "Session": "hvd_ae.api", "Result": "hvd_ae.api",
    "fit": "hvd_ae.fitting", "History": "hvd_ae.fitting", "start": "hvd_ae.collectives.start",
    "Callback": "hvd_ae.training.callbacks",
    "Task": "hvd_ae.tasks.task", "Learner": "hvd_ae.models.learner", "Source": "hvd_ae.data.source",
    "Field": "hvd_ae.data.source", "Splits": "hvd_ae.data.source",
}
__all__ = ["NotWritten", "OutOfSync", "Refused", "Stopped", "TrainSettings", *_LATER]  # noqa: PLE0604


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module 'hvd_ae' has no attribute {name!r}")
    from hvd_ae.runtime.tensorflow_setup import import_tensorflow

    import_tensorflow()
    return getattr(importlib.import_module(_LATER[name]), name)
