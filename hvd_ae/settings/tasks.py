"""The tasks, what is learnt, and their settings: a new task is declared here, and written in a file of its own.

A setting that means nothing to a task is refused there, so that nobody measures a flag without effect.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvd_ae.errors import Refused
from hvd_ae.settings.fields import own, setting

if TYPE_CHECKING:
    from hvd_ae.settings.train import TrainSettings

# Where each task is written. The order is that of help texts.
TASKS = {
    "reconstruction": "hvd_ae.tasks.reconstruction:Reconstruction",
    "denoising": "hvd_ae.tasks.denoising:Denoising",
    "variational": "hvd_ae.tasks.variational:Variational",
    "supervised": "hvd_ae.tasks.supervised:Supervised",
    "classification": "hvd_ae.tasks.classification:Classification",
}
COUNT_LOSSES = ("poisson", "nb", "zinb")  # of whole numbers in raw units, whatever the model is given of them
LOSSES = ("mse", "mae", "huber", "bce", *COUNT_LOSSES)


@dataclass(frozen=True)
class TaskSettings:
    """task: what is learnt. A setting with tasks in brackets, and its default there, is refused with the others."""

    task: str = setting("reconstruction", f"{', '.join(TASKS)}, or package.module:Class, called with the settings.",
                        same_on_resume=True)
    loss: str = setting("mse", "mse, mae, huber, bce (data within 0 to 1), means over the features of a sample; poisson, nb, "
                        "zinb (counts, in nats); or package.module:function of targets and outputs.", same_on_resume=True)
    noise: str | None = own(("denoising",), None, "What inputs are corrupted by, of what the model sees: gaussian:0.1, a "
                            "standard deviation; mask:0.3, the part that becomes 0; salt:0.05, the part that becomes the "
                            "lowest or the highest value; several with commas between them")
    inputs: str | None = own(("denoising",), None, "Of measured pairs, the member of the file that holds the noisy ones; the "
                             "clean ones are the targets")
    beta: float | None = own(("variational",), 1.0, "Weight of the KL divergence in the loss", at_least=0)
    beta_warmup: float | None = own(("variational",), 0.0, "Epochs over which that weight rises from 0", at_least=0)
    free_bits: float | None = own(("variational",), 0.0, "Nats that each number of a code may hold without cost", at_least=0)
    code_l1: float | None = own(("reconstruction", "denoising"), None, "Weight of the sum of a code's absolute values in "
                                "the loss, for sparse codes", above=0, example=1e-4)


NOISES = ("gaussian", "mask", "salt")


def noise_of(text: str) -> list[tuple[str, float]]:
    """What `--noise` says: kinds of noise, in their order, and how much of each.

    Raises:
        Refused: another kind, or a part that is none.
    """
    noises = []
    for part in text.split(","):
        kind, _, amount = part.strip().partition(":")
        try:
            value = float(amount)
        except ValueError:
            value = -1.0
        if kind not in NOISES or not 0 < value < math.inf or (kind != "gaussian" and value >= 1):
            raise Refused(f"noise={text!r} is not understood: write gaussian:0.1, mask:0.3 or salt:0.05, or several with "
                          "commas between them; mask and salt are parts below 1")
        noises.append((kind, value))
    return noises


def check_tasks_settings(s: "TrainSettings") -> None:
    """Refuse names that are not known, and settings that take the effect from one another.

    Raises:
        Refused: naming the value, the rule and the way out.
    """
    if s.task not in TASKS and ":" not in s.task:
        raise Refused(f"task={s.task!r} is not known: use one of {', '.join(TASKS)}, or package.module:Class")
    if s.loss not in LOSSES and ":" not in s.loss:
        raise Refused(f"loss={s.loss!r} is not known: use one of {', '.join(LOSSES)}, or package.module:function")
    if s.noise is not None:
        noise_of(s.noise)
    if s.task == "denoising" and s.noise is None and s.targets is None:
        raise Refused("task='denoising' needs noise to take away: give --noise gaussian:0.1 for instance, or --targets, the "
                      "clean samples of noisy ones")
    if s.inputs is not None and s.targets is None:
        raise Refused(f"inputs={s.inputs!r} has no effect without targets: name the clean samples by --targets")
    if s.task == "variational" and s.loss == "huber":
        raise Refused("loss='huber' is no probability, which task='variational' needs: use mse, mae, bce, poisson, nb or zinb")
    if s.task == "classification" and s.loss != "mse":
        raise Refused(f"loss={s.loss!r} has no effect with task='classification', whose loss is the cross-entropy: drop it")
