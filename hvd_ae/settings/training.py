"""How `hvd-ae train` moves the parameters, and when it ends."""

import math
from dataclasses import dataclass
from typing import Literal

from hvd_ae.errors import Refused
from hvd_ae.settings.fields import setting

Scaling = Literal["none", "linear", "sqrt"]
Schedule = Literal["constant", "cosine", "step", "plateau", "linear"]
_PLATEAU_EPOCHS = 5


@dataclass(frozen=True)
class OptimizationSettings:
    """training"""

    batch_size: int = setting(128, "Samples per rank and step.", at_least=1)
    epochs: int = setting(10, "Passes over all training samples.", at_least=1)
    steps: int | None = setting(None, "Stop after this many steps, even within an epoch.", at_least=1)
    optimizer: str = setting("adam", "A Keras optimizer by its name: sgd, momentum, nesterov, adam, adamw, adamax, nadam, "
                             "rmsprop, adagrad, adadelta, lion; layer by layer lamb, lars, muon, adafactor.",
                             same_on_resume=True)
    optimizer_settings: str | None = setting(None, "Its settings other than the learning rate, as Keras names them: "
                                             "beta_2=0.99,weight_decay=0.01; decay_vectors=false leaves biases out.",
                                             same_on_resume=True)
    learning_rate: float = setting(0.001, "Before scaling (see --lr-scaling).", above=0, example=0.001)
    lr_scaling: Scaling = setting("none", "Multiply the learning rate by the number of ranks, or by its square root.")
    warmup_epochs: float = setting(0.0, "Epochs over which the learning rate rises from that of one rank to the full one.",
                                   at_least=0)
    schedule: Schedule = setting("constant", "What becomes of the learning rate after that: it falls to 0 at the end as a "
                                 "cosine or linearly, falls by steps, or whenever val_loss no longer does (plateau).")
    decay_factor: float | None = setting(None, "What step and plateau multiply the rate by [0.1].", above=0, at_most=1,
                                         example=0.1)
    decay_epochs: int | None = setting(None, "Epochs between two steps [a third of all], or without a lower val_loss before "
                                       "plateau lowers the rate [5].", at_least=1)
    patience: int | None = setting(None, "End after so many epochs without a lower val_loss.", at_least=1)
    min_delta: float = setting(0.0, "By how much val_loss must fall for --patience and plateau to count it as lower.",
                               at_least=0)
    keep_best: bool = setting(False, "Keep the parameters of the epoch with the lowest val_loss, and save these as the model.")
    max_minutes: float | None = setting(None, "End after so many minutes, even within an epoch, with a checkpoint to go on "
                                        "from and the model as it is then.", above=0, example=30.0)
    seed: int = setting(0, "Of the first weights, the orders of samples, dropout and synthetic data; below 2**32.", at_least=0,
                        at_most=2**32 - 1, example=0, same_on_resume=True)


def check_training(s: OptimizationSettings) -> None:
    """Refuse settings of training that have no effect.

    Raises:
        Refused: naming the value, the rule and the way out.
    """
    for name in ("decay_factor", "decay_epochs"):
        if getattr(s, name) is not None and s.schedule not in ("step", "plateau"):
            raise Refused(f"{name}={getattr(s, name)} has no effect with schedule={s.schedule!r}: drop it, or use "
                          "schedule='step' or 'plateau'")
    if s.min_delta and s.schedule != "plateau" and s.patience is None:
        raise Refused(f"min_delta={s.min_delta} has no effect without patience: drop it, or use for instance --patience 5")


def training_defaults(s: OptimizationSettings) -> dict[str, object]:
    """Of settings that are None, where other settings give them a meaning."""
    if s.schedule not in ("step", "plateau"):
        return {}
    return {"decay_factor": 0.1, "decay_epochs": math.ceil(s.epochs / 3) if s.schedule == "step" else _PLATEAU_EPOCHS}
