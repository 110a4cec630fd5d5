"""The callbacks that settings ask for: whoever trains has them, with a run folder or without."""

from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.early_stopping import EarlyStopping
from hvd_ae.training.plateau import Plateau
from hvd_ae.training.time_limit import TimeLimit


def asked_for(settings: TrainSettings) -> list[Callback]:
    """Before all others, since what they decide belongs into whatever checkpoint is written after an epoch."""
    s, found = settings, []
    if s.schedule == "plateau":
        found.append(Plateau(s.decay_factor, s.decay_epochs, s.min_delta))
    if s.patience is not None:
        found.append(EarlyStopping(s.patience, s.min_delta))
    if s.max_minutes is not None:
        found.append(TimeLimit(s.max_minutes))
    return found
