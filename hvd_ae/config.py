"""The only list of settings: the TOML file, the command line and Python all fill in these frozen dataclasses."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hvd_ae.errors import Refused

Partition = Literal["contiguous", "strided", "shuffled", "label-skew", "reshuffled"]
Loss = Literal["mse", "bce"]
Activation = Literal["sigmoid", "linear"]
Scaling = Literal["none", "linear", "sqrt"]
Slots = Literal["keep", "average", "reset"]
Collectives = Literal["horovod", "mpi", "single"]
_CHOICES = {"partition": Partition, "loss": Loss, "output_activation": Activation, "lr_scaling": Scaling, "slots": Slots,
            "collectives": Collectives}

# Settings that mean something to some ways of averaging only, with each way's defaults. A way that is not named
# beside a setting refuses it, so that nobody measures a flag without effect.
WAY_SETTINGS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "parameter": {"sync_every": 16, "slots": "keep"},
    "none": {},
}


@dataclass(frozen=True)
class TrainSettings:
    """Everything that `hvd-ae train` can be told; `effective()` fills in what depends on the rest."""

    data: str = "digits"
    """digits, mnist, fashion-mnist, synthetic, synthetic:COUNTxDIM, or a path to .npy, .npz or an IDX file."""
    validation_data: str | None = None
    """Path to validation samples; without it a path's last rows are taken (see --validation-split)."""
    validation_split: float = 0.1
    """Part of the rows kept for validation where the data bring none of their own."""
    partition: Partition = "reshuffled"
    """Which samples are a rank's own; reshuffled deals them anew every epoch."""
    concentration: float | None = None
    """Dirichlet concentration of label-skew (default 0.5); smaller means more different ranks."""

    model: str = "deep"
    """shallow, stacked, deep, or package.module:function, called with the shape of one sample."""
    output_activation: Activation = "sigmoid"
    """Last activation of the built-in models; sigmoid needs data within 0 to 1."""
    loss: Loss = "mse"

    batch_size: int = 128
    """Samples per rank and step."""
    epochs: int = 10
    steps: int | None = None
    """Stop after this many steps, even within an epoch."""
    optimizer: str = "adam"
    """A Keras optimizer by its name: sgd, momentum, adam, adamw, rmsprop, adagrad, adadelta, adamax, nadam, lion."""
    learning_rate: float = 0.001
    lr_scaling: Scaling = "none"
    """Multiply the learning rate by the number of ranks, or by its square root."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from that of one rank to the scaled one."""
    seed: int = 0

    averaging: str = "gradient"
    """How ranks are kept together: gradient, parameter or none."""
    sync_every: int | None = None
    """Steps between averages [parameter: 16]."""
    slots: Slots | None = None
    """What an average does to the optimizer's slots [parameter: keep]."""

    collectives: Collectives | None = None
    """Who moves the vectors [horovod where it is installed, else mpi; single for one process]."""
    threads: int | None = None
    """Threads per rank [the cores this rank may use, shared fairly with the other ranks of its node]."""

    run_dir: str | None = None
    """Where everything goes [runs/ and a name made of date, data, model and averaging]."""
    resume: bool = False
    """Go on from the newest good checkpoint in --run-dir; start from nothing where there is none."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; 0 writes none but the last."""
    keep_checkpoints: int = 2
    proof_every: int = 100
    """Steps between proofs that ranks are in step."""

    def effective(self) -> "TrainSettings":
        """These settings, checked, and with the way's and the partition's own defaults filled in.

        Raises:
            Refused: naming the value, the rule and the way out.
        """
        _check(self)
        filled = {k: v for k, v in WAY_SETTINGS[self.averaging].items() if getattr(self, k) is None}
        if self.partition == "label-skew" and self.concentration is None:
            filled["concentration"] = 0.5
        return dataclasses.replace(self, **filled)


def _check(s: TrainSettings) -> None:
    """Refuse what can be refused without looking at data, ranks or devices."""
    for name, choices in _CHOICES.items():  # the command line has done this, a script or a TOML file has not
        if getattr(s, name) is not None:
            _one_of(name, getattr(s, name), get_args(choices))
    _one_of("averaging", s.averaging, WAY_SETTINGS)
    for name in ("batch_size", "epochs", "steps", "sync_every", "keep_checkpoints", "proof_every", "threads"):
        _at_least(name, getattr(s, name), 1)
    for name in ("checkpoint_every", "warmup_epochs", "seed"):
        _at_least(name, getattr(s, name), 0)
    if not s.learning_rate > 0:
        raise Refused(f"learning_rate={s.learning_rate} must be above 0: try 0.001")
    if not 0 < s.validation_split < 1:
        raise Refused(f"validation_split={s.validation_split} must be between 0 and 1: 0.1 keeps a tenth of the rows")
    if s.concentration is not None and not s.concentration > 0:
        raise Refused(f"concentration={s.concentration} must be above 0: 0.1 is very uneven, 100 nearly even")
    if s.concentration is not None and s.partition != "label-skew":
        raise Refused(f"concentration={s.concentration} has no effect with partition={s.partition!r}: drop it, or use "
                      "partition='label-skew'")
    if s.warmup_epochs and s.lr_scaling == "none":
        raise Refused(f"warmup_epochs={s.warmup_epochs} has no effect with lr_scaling='none': drop it, or use "
                      "lr_scaling='linear' or 'sqrt'")
    _refuse_without_effect(s)


def _refuse_without_effect(s: TrainSettings) -> None:
    way_settings = {name for settings in WAY_SETTINGS.values() for name in settings}
    for name in sorted(way_settings - WAY_SETTINGS[s.averaging].keys()):
        value = getattr(s, name)
        if value is not None:
            takers = [repr(way) for way, settings in WAY_SETTINGS.items() if name in settings]
            raise Refused(f"{name}={value} has no effect with averaging={s.averaging!r}: drop it, or use averaging="
                          + " or ".join(takers))


def _one_of(name: str, value: str, allowed) -> None:
    if value not in allowed:
        raise Refused(f"{name}={value!r} is not known: use one of {', '.join(allowed)}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise Refused(f"{name}={value} must be at least {least}")


def to_toml(settings) -> str:
    """The settings as TOML, one key a field, fields that are None left out (TOML has no null)."""
    import tomli_w

    return tomli_w.dumps({k: v for k, v in dataclasses.asdict(settings).items() if v is not None})


def flags_from_toml(path: str, settings_class: type) -> list[str]:
    """A TOML file as command-line flags, so that one parser checks both.

    Raises:
        Refused: the file is missing, is no TOML, or holds a key that is no setting.
    """
    import difflib
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise Refused(f"config={path!r} cannot be read ({error.strerror}): give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"config={path!r} is not valid TOML ({error}): mend it, e.g. batch_size = 128") from None
    known = [field.name for field in dataclasses.fields(settings_class)]
    flags = []
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise Refused(f"config={path!r} holds {key!r}, which is no setting: {hint}")
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            flags += [flag if value else flag.replace("--", "--no-", 1)]
        else:
            flags += [flag, str(value)]
    return flags
