"""The networks and their settings: a new network is declared here, and written in a file of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hvd_ae.errors import Refused
from hvd_ae.settings.fields import own, setting
from hvd_ae.settings.tasks import COUNT_LOSSES

if TYPE_CHECKING:
    from hvd_ae.settings.train import TrainSettings

# Where each network is written. The order is that of help texts.
MODELS = {
    "shallow": "hvd_ae.models.dense:Dense",
    "stacked": "hvd_ae.models.dense:Dense",
    "deep": "hvd_ae.models.dense:Dense",
    "dense": "hvd_ae.models.dense:Dense",
    "conv": "hvd_ae.models.conv:Conv",
}

OutputActivation = Literal["sigmoid", "linear"]
Precision = Literal["float32", "tf32", "bfloat16"]
Activation = Literal["relu", "elu", "selu", "gelu", "silu", "tanh", "leaky_relu"]


_OF_ANY_WIDTH = ("dense", "conv")
WIDTHS = {"dense": "512,256", "conv": "32,64,128"}  # where the user gives none


@dataclass(frozen=True)
class ModelSettings:
    """model: a setting with networks in brackets, and its default there, is refused with the others."""

    model: str = setting("deep", f"{', '.join(MODELS)}, or package.module:function, called with the shape of one sample.",
                         same_on_resume=True)
    widths: str | None = own(_OF_ANY_WIDTH, None, "Of the encoder's layers, or their channels, with commas between "
                             "them; mirrored in the decoder (dense 512,256, conv 32,64,128)")
    code: int | None = own(_OF_ANY_WIDTH, 32, "Numbers in a code", at_least=1)
    activation: Activation | None = own(_OF_ANY_WIDTH, "relu", "Of the layers but the code and the last")
    dropout: float | None = own(_OF_ANY_WIDTH, 0.0, "Part of a layer's outputs that is dropped in training", at_least=0,
                                at_most=0.99, example=0.1)
    batch_norm: bool | None = own(_OF_ANY_WIDTH, False, "Batch normalization after each layer")
    group_norm: bool | None = own(("conv",), False, "Group normalization after each layer, which knows of no batch")
    dimensions: int | None = own(("conv",), None, "Axes of a sample that are convolved, 1 to 3, without one of channels "
                                 "(all, where the last has more than 4; else all but that)", at_least=1, at_most=3, example=2)
    output_activation: OutputActivation | None = setting(
        None, "Last activation of the built-in models; sigmoid needs data within 0 to 1 [sigmoid where normalize is none or "
        "minmax, else linear].", same_on_resume=True)
    precision: Precision = setting("float32", "What layers compute in; parameters, losses, gradients and their sums are "
                                   "float32 in any case. tf32: what GPUs multiply is rounded to 10 bits first.",
                                   same_on_resume=True)


def widths_of(text: str) -> tuple[int, ...]:
    """What `--widths` says.

    Raises:
        Refused: no whole numbers above 0 with commas between them.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise Refused(f"widths={text!r} are no whole numbers above 0 with commas between them: write for instance 512,256")
    return tuple(map(int, parts))


def check_models_settings(s: "TrainSettings") -> None:
    """Refuse a network that is not known, and settings that take the effect from one another.

    Raises:
        Refused: naming the value, the rule and the way out.
    """
    if s.model not in MODELS and ":" not in s.model:
        raise Refused(f"model={s.model!r} is not known: use {', '.join(MODELS)}, or package.module:function")
    if s.widths is not None:
        widths_of(s.widths)
    if s.batch_norm and s.group_norm:
        raise Refused("batch_norm=True has no effect with group_norm=True: drop one of them")
    if s.output_activation is not None and s.task == "classification":
        raise Refused(f"output_activation={s.output_activation!r} has no effect with task='classification', whose outputs are "
                      "logits: drop it")
    if s.output_activation is not None and s.loss in COUNT_LOSSES:
        raise Refused(f"output_activation={s.output_activation!r} has no effect with loss={s.loss!r}, whose mean is above 0 "
                      "by an activation of its own: drop it")
