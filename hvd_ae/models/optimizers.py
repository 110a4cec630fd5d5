"""Keras optimizers by name, on one flat vector."""

import difflib
import inspect

import keras

from hvd_ae.errors import Refused
from hvd_ae.models.layerwise import LayerByLayer
from hvd_ae.models.on_layers import Lamb, Lars, on_layers

# The update of these is element-wise: on one flat vector they do just what they do layer by layer.
ELEMENT_WISE = {
    "sgd": (keras.optimizers.SGD, {}),
    "momentum": (keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (keras.optimizers.Adam, {}),
    "adamw": (keras.optimizers.AdamW, {}),
    "adamax": (keras.optimizers.Adamax, {}),
    "nadam": (keras.optimizers.Nadam, {}),
    "rmsprop": (keras.optimizers.RMSprop, {}),
    "adagrad": (keras.optimizers.Adagrad, {}),
    "adadelta": (keras.optimizers.Adadelta, {}),
    "lion": (keras.optimizers.Lion, {}),
}
# So is that of these but for norms of each layer.
BY_NORMS = {"lamb": (Lamb, {}), "lars": (Lars, {})}
# These work on whole layers.
LAYER_WISE = {
    "muon": (keras.optimizers.Muon, {}),
    "adafactor": (keras.optimizers.Adafactor, {}),
}
OPTIMIZERS = {**ELEMENT_WISE, **BY_NORMS, **LAYER_WISE}

# Not set here: what has a flag of its own, or means nothing to a vector.
_ELSEWHERE = {"clipnorm": "--clip-norm", "global_clipnorm": "--clip-norm", "use_ema": "--ema", "ema_momentum": "--ema",
              "gradient_accumulation_steps": "--accumulate", "learning_rate": "--learning-rate"}
_NOT_HERE = {*_ELSEWHERE, "self", "name", "kwargs", "clipvalue", "ema_overwrite_frequency", "loss_scale_factor",
             "exclude_layers"}
# Whether weight decay is for arrays of one axis too (biases, what normalization scales by), as Keras has it.
_DECAY_VECTORS = "decay_vectors"


def make_optimizer(name: str, learning_rate, settings: str | None = None):
    """The optimizer of that name, Keras's defaults for everything but the learning rate and what is set.

    Args:
        settings: as `--optimizer-settings` has them, "beta_2=0.99,weight_decay=0.01".

    Raises:
        Refused: no such optimizer or setting, or a value that it does not take.
    """
    if name not in OPTIMIZERS:
        raise Refused(f"optimizer={name!r} is not known: use one of {', '.join(OPTIMIZERS)}")
    kind, preset = OPTIMIZERS[name]
    given = _read(name, settings, _settings_of(kind))
    decay_vectors = given.pop(_DECAY_VECTORS, True)
    if name not in LAYER_WISE and not decay_vectors:
        kind = on_layers(kind, decay_vectors)
    try:
        optimizer = kind(learning_rate=learning_rate, **{**preset, **given})
    except (ValueError, TypeError) as error:
        raise Refused(f"optimizer_settings={settings!r} are not what optimizer={name!r} takes: "
                      f"{str(error).strip().splitlines()[0]}") from None
    return LayerByLayer(optimizer, decay_vectors) if name in LAYER_WISE else optimizer


def _settings_of(kind: type) -> dict[str, type]:
    """What an optimizer can be told, by name, and of which type each is: that of its default in Keras."""
    parameters = inspect.signature(kind.__init__).parameters
    known = {name: float if each.default is None else type(each.default) for name, each in parameters.items()
             if name not in _NOT_HERE}
    return {**known, _DECAY_VECTORS: bool} if "weight_decay" in known and kind is not Lars else known


def _read(optimizer: str, settings: str | None, known: dict[str, type]) -> dict[str, object]:
    given = {}
    for each in filter(None, (settings or "").split(",")):
        name, equals, value = (part.strip() for part in each.partition("="))
        if name in _ELSEWHERE:
            raise Refused(f"optimizer_settings={settings!r} holds {name}, which has a flag of its own here: use "
                          f"{_ELSEWHERE[name]}")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise Refused(f"optimizer_settings={settings!r} holds {name!r}, which optimizer={optimizer!r} does not have: "
                          + (f"did you mean {close[0]}? " if close else "") + f"It has {', '.join(known)}")
        given[name] = _value(name, value, known[name], settings)
    return given


def _value(name: str, text: str, kind: type, settings: str):
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if kind is not bool:
            return int(text) if kind is int and "." not in text else float(text)
    except ValueError:
        pass
    wanted = "true or false" if kind is bool else "a number"
    raise Refused(f"optimizer_settings={settings!r} holds {name}={text!r}, which must be {wanted}: write for instance "
                  f"{name}={'true' if kind is bool else '0.01'}")
