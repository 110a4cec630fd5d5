"""Autoencoders, or any Keras model, trained on MPI ranks that average one flat vector, proved to be in step."""

from hvd_ae.config import TrainSettings
from hvd_ae.errors import NotWritten, OutOfSync, Refused, Stopped

__all__ = ["NotWritten", "OutOfStep", "Refused", "Result", "Stopped", "TrainSettings", "start", "train"]


def __getattr__(name: str):
    # TensorFlow takes seconds to import: not before it is needed
    if name in __all__:
        from hvd_ae.runtime.tensorflow_setup import import_tensorflow

        import_tensorflow()
    if name in ("train", "Result"):
        from hvd_ae import api

        return getattr(api, name)
    if name == "start":
        from hvd_ae.collectives.start import start

        return start
    raise AttributeError(f"module 'hvd_ae' has no attribute {name!r}")
