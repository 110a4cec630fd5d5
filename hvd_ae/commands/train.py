"""`hvd-ae train`."""

from hvd_ae.runtime.signals import catch_signals
from hvd_ae.settings.train import TrainSettings


def train(settings: TrainSettings) -> None:
    """Train; signals are noted from before the seconds in which TensorFlow is imported."""
    settings.resolved()  # refuses what it can at once
    with catch_signals():
        import hvd_ae

        hvd_ae.train(settings)
