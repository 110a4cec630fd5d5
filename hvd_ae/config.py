"""The only list of settings: the TOML file, the command line and Python all fill in these frozen dataclasses."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hvd_ae.errors import Refused

Partition = Literal["contiguous", "strided", "shuffled", "label-skew", "reshuffled"]
Loss = Literal["mse", "bce"]
Activation = Literal["sigmoid", "linear"]
Scaling = Literal["none", "linear", "sqrt"]
Slots = Literal["keep", "average", "reset"]
Collectives = Literal["horovod", "mpi", "single"]
Precision = Literal["float32", "bfloat16"]
Compression = Literal["none", "fp16", "bf16"]
OuterOptimizer = Literal["none", "sgd", "nesterov"]
ServerKind = Literal["sync", "async"]
Graph = Literal["ring", "exponential", "complete"]
_CHOICES = {
    "partition": Partition, "loss": Loss, "output_activation": Activation, "precision": Precision, "lr_scaling": Scaling,
    "optimizer_state": Slots, "collectives": Collectives, "compression": Compression, "outer_optimizer": OuterOptimizer,
    "server": ServerKind, "graph": Graph,
}

_NAMED_DATA = ("digits", "mnist", "fashion-mnist", "synthetic")

_OUTER_DEFAULTS = {
    "sgd": {"outer_learning_rate": 1.0, "outer_momentum": 0.0},
    "nesterov": {"outer_learning_rate": 0.7, "outer_momentum": 0.9},  # DiLoCo's
}

# Settings that mean something to some ways of averaging only, with each way's defaults. A way that is not named
# beside a setting refuses it, so that nobody measures a flag without effect.
# None is a default too: the setting is then left to the way.
_PERIODIC = {"sync_every": 16, "optimizer_state": "keep"}
_OUTER = {"outer_optimizer": "none", "outer_learning_rate": None, "outer_momentum": None}
WAY_SETTINGS: dict[str, dict[str, Any]] = {
    "gradient": {"accumulate": 1, "clip_norm": None, "compression": "none", "buckets": 1},
    "sharded": {"accumulate": 1, "clip_norm": None},
    "adasum": {},
    "parameter": {**_PERIODIC, **_OUTER},
    "overlapped": {"sync_every": 16},
    "post-local": {**_PERIODIC, **_OUTER, "local_after": 1, "clip_norm": None, "compression": "none"},
    "hierarchical": {**_PERIODIC, **_OUTER, "ranks_per_node": None},
    "adaptive": {**_PERIODIC, "min_sync_every": 1, "max_sync_every": 256, "drift_limit": 0.05,
                 "communication_share": 0.05},
    "one-shot": {},
    "elastic": {"sync_every": 16, "elastic_rate": 0.9},
    "server": {"server": "sync", "aggregate": None},
    "gossip": {"graph": "ring"},
    "sequential": {"sync_every": 16},
    "none": {},
}


@dataclass(frozen=True)
class TrainSettings:
    """Everything that `hvd-ae train` can be told; `effective()` fills in what depends on the rest."""

    data: str = "digits"
    """digits, mnist, fashion-mnist, synthetic, synthetic:COUNTxDIM, or a path to .npy, .npz or an IDX file."""
    validation_data: str | None = None
    """Path to validation samples; without it a path's last rows are taken (see --validation-split)."""
    validation_split: float | None = None
    """Part of the rows kept for validation where the data bring none of their own [0.1]."""
    partition: Partition = "reshuffled"
    """Which samples are a rank's own; reshuffled deals them anew every epoch."""
    concentration: float | None = None
    """Dirichlet concentration of label-skew (default 0.5); smaller means more different ranks."""

    model: str = "deep"
    """shallow, stacked, deep, or package.module:function, called with the shape of one sample."""
    output_activation: Activation | None = None
    """Last activation of the built-in models; sigmoid needs data within 0 to 1 [sigmoid]."""
    loss: Loss = "mse"
    """Squared error, or binary cross-entropy for data within 0 to 1; a mean over the features of a sample."""

    precision: Precision = "float32"
    """What layers compute in; parameters, losses, gradients and their sums are float32 in any case."""
    batch_size: int = 128
    """Samples per rank and step."""
    epochs: int = 10
    """Passes over all training samples."""
    steps: int | None = None
    """Stop after this many steps, even within an epoch."""
    optimizer: str = "adam"
    """A Keras optimizer by its name: sgd, momentum, nesterov, adam, adamw, adamax, nadam, rmsprop, adagrad,
    adadelta, lion."""
    learning_rate: float = 0.001
    """Before scaling (see --lr-scaling)."""
    lr_scaling: Scaling = "none"
    """Multiply the learning rate by the number of ranks, or by its square root."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from that of one rank to the scaled one."""
    seed: int = 0
    """Of the first weights, the orders of samples, dropout and synthetic data; below 2**32."""

    averaging: str = "gradient"
    """How ranks are kept together: gradient, sharded, adasum, parameter, overlapped, post-local, hierarchical, adaptive,
    one-shot, elastic, server, gossip, sequential or none. In brackets below: the ways that take a setting, and its default."""
    sync_every: int | None = None
    """Steps between averages [parameter, overlapped, post-local, hierarchical, adaptive, elastic,
    sequential: 16]."""
    optimizer_state: Slots | None = None
    """What an average does to the optimizer's slots [parameter, post-local, hierarchical, adaptive: keep]."""
    accumulate: int | None = None
    """Steps whose gradients are added up before they are averaged [gradient, sharded: 1]."""
    clip_norm: float | None = None
    """Largest norm of the averaged gradient over all parameters [gradient, sharded, post-local: no limit]."""
    compression: Compression | None = None
    """Bits of a number on the wire: 32, or 16 as fp16 or bf16 [gradient, post-local: none]."""
    buckets: int | None = None
    """Pieces of the gradient, cut between layers, each averaged while the backward pass goes on with the layers before;
    for slow links and large models [gradient: 1]."""
    outer_optimizer: OuterOptimizer | None = None
    """What turns the step between two averages into an update [parameter, post-local, hierarchical: none]."""
    outer_learning_rate: float | None = None
    """Of the outer optimizer [sgd: 1.0, nesterov: 0.7]."""
    outer_momentum: float | None = None
    """Of the outer optimizer [sgd: 0.0, nesterov: 0.9]."""
    local_after: int | None = None
    """Epochs of gradients before the first with parameters [post-local: 1]."""
    ranks_per_node: int | None = None
    """Consecutive ranks that count as one node [hierarchical: those that share a machine]."""
    min_sync_every: int | None = None
    """Shortest period [adaptive: 1]."""
    max_sync_every: int | None = None
    """Longest period [adaptive: 256]."""
    drift_limit: float | None = None
    """Distance from the average, over the parameters' norm, that halves the period [adaptive: 0.05]."""
    communication_share: float | None = None
    """Part of the time in communication that doubles the period [adaptive: 0.05]."""
    elastic_rate: float | None = None
    """Part of its distance from the ranks' mean that the centre moves at each exchange [elastic: 0.9]."""
    server: ServerKind | None = None
    """Whether updates wait for gradients of the same parameters [server: sync]."""
    aggregate: int | None = None
    """Workers whose gradients make an update; later ones are dropped [server sync: all]."""
    graph: Graph | None = None
    """Who averages with whom [gossip: ring]."""

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
    """The newest so many; older ones are deleted."""
    check_every: int = 100
    """Steps between proofs that ranks are in step."""
    stall_timeout: float = 600.0
    """Seconds that a rank may wait for another before the job ends and says for which; 0 waits for ever."""

    def resolved(self) -> "TrainSettings":
        """These settings, checked, and with the way's and the partition's own defaults filled in.

        Raises:
            Refused: naming the value, the rule and the way out.
        """
        _check(self)
        filled = {k: v for k, v in WAY_SETTINGS[self.averaging].items() if getattr(self, k) is None}
        outer = self.outer_optimizer or "none"
        if outer != "none":
            for name, default in _OUTER_DEFAULTS[outer].items():
                if getattr(self, name) is None:
                    filled[name] = default
        if self.partition == "label-skew" and self.concentration is None:
            filled["concentration"] = 0.5
        if self.averaging == "adaptive" and self.sync_every is None:  # its default, within the bounds that are given
            lowest = self.min_sync_every or filled["min_sync_every"]
            highest = self.max_sync_every or filled["max_sync_every"]
            filled["sync_every"] = min(max(filled["sync_every"], lowest), highest)
        if self.validation_split is None and self.validation_data is None and not _is_named(self.data):
            filled["validation_split"] = 0.1
        if self.output_activation is None and ":" not in self.model:
            filled["output_activation"] = "sigmoid"
        return dataclasses.replace(self, **filled)


# The setting of which a way has variants, for `way:variant` in a comparison.
VARIANTS = {"gradient": "compression", "parameter": "outer_optimizer", "server": "server", "gossip": "graph"}


@dataclass(frozen=True)
class CompareSettings:
    """What is the same for all ways, and which ways to compare."""

    strategies: str = ",".join([*(strategy for strategy in WAY_SETTINGS if strategy != "none"), "server:async"])
    """Ways of averaging, with commas between them; one with variants may name one: server:async, gossip:exponential,
    gradient:fp16, parameter:nesterov."""
    sync_every: str = "16"
    """Periods H, with commas between them; each way that has one is trained with each of them."""
    seeds: int = 1
    """Trainings of each, from seeds 0, 1, ...; the spread over them is shown."""
    data: str = "digits"
    """As for `hvd-ae train`, and so the others below."""
    partition: Partition = "reshuffled"
    concentration: float | None = None
    model: str = "deep"
    batch_size: int = 128
    epochs: int = 10
    steps: int | None = None
    """Stop after as many samples as this many steps of all ranks take."""
    optimizer: str = "adam"
    learning_rate: float = 0.001
    collectives: Collectives | None = None
    run_dir: str = "runs/compare"
    """Where compare.jsonl, compare.md and compare.png go."""


@dataclass(frozen=True)
class PlanSettings:
    """The job to plan, and for what."""

    data: str = "digits"
    """As for `hvd-ae train`, and so the next."""
    model: str = "deep"
    batch_size: int = 128
    loss: Loss = "mse"
    optimizer: str = "adam"
    collectives: Collectives | None = None
    threads: int | None = None
    seed: int = 0
    measured: str | None = None
    """A plan-measured.json to predict from, instead of measuring."""
    run: str | None = None
    """A finished run's folder: its speed beside the prediction, and nothing else."""
    strategies: str = "gradient,sharded,parameter"
    """Ways of averaging, with commas between them."""
    sync_every: str = "4,16,64"
    """Periods H, with commas between them."""
    ranks: str = "1,2,4,8,16,64,256,1024,4096,10000"
    """Numbers of ranks, with commas between them."""
    ranks_per_node: int | None = None
    """[those of a node here]"""
    link_latency: float | None = None
    """Seconds from node to node, instead of what was measured."""
    link_bandwidth: float | None = None
    """Bytes per second from node to node, instead of what was measured."""
    efficiency: float = 0.9
    """What the advice aims at: speed of a rank over that of one rank alone."""
    output: str = "plan"
    """Folder of plan-measured.json, plan.json and plan.png."""

    def __post_init__(self):
        for name in ("batch_size", "threads", "ranks_per_node"):
            _at_least(name, getattr(self, name), 1)
        for name, example in (("link_latency", 2e-6), ("link_bandwidth", 12.5e9)):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise Refused(f"{name}={getattr(self, name)} must be above 0: try {example}")
        if not 0 < self.efficiency < 1:
            raise Refused(f"efficiency={self.efficiency} must be between 0 and 1: try 0.9")


def _check(s: TrainSettings) -> None:
    """Refuse what can be refused without looking at data, ranks or devices."""
    for name, choices in _CHOICES.items():  # the command line has done this, a script or a TOML file has not
        if getattr(s, name) is not None:
            _one_of(name, getattr(s, name), get_args(choices))
    _one_of("averaging", s.averaging, WAY_SETTINGS)
    for name in ("batch_size", "epochs", "steps", "sync_every", "keep_checkpoints", "check_every", "threads", "accumulate",
                 "ranks_per_node", "min_sync_every", "max_sync_every", "aggregate", "buckets"):
        _at_least(name, getattr(s, name), 1)
    for name in ("checkpoint_every", "warmup_epochs", "seed", "outer_momentum", "local_after", "stall_timeout"):
        _at_least(name, getattr(s, name), 0)
    for name, example in (("learning_rate", 0.001), ("clip_norm", 1.0), ("outer_learning_rate", 0.7),
                          ("drift_limit", 0.05), ("communication_share", 0.05), ("elastic_rate", 0.9)):
        value = getattr(s, name)
        if value is not None and not value > 0:
            raise Refused(f"{name}={value} must be above 0: try {example}")
    _check_numbers_fit(s)
    if s.validation_split is not None and not 0 < s.validation_split < 1:
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
    _check_combinations(s)
    _check_data_and_model(s)
    if s.resume and s.run_dir is None:
        raise Refused("resume=True has no effect without run_dir, since a new folder holds nothing to go on from: give "
                      "--run-dir, or drop --resume")


def _check_numbers_fit(s: TrainSettings) -> None:
    """Numbers in which nothing could be computed."""
    for field in dataclasses.fields(s):
        value = getattr(s, field.name)
        if isinstance(value, float) and math.isinf(value):
            raise Refused(f"{field.name}={value} must be finite: give a number, or leave it out")
    if s.seed >= 2**32:
        raise Refused(f"seed={s.seed} must be below 2**32, as NumPy's and Keras's seeds are: give a smaller number")


def _refuse_without_effect(s: TrainSettings) -> None:
    way_settings = {name for settings in WAY_SETTINGS.values() for name in settings}
    for name in sorted(way_settings - WAY_SETTINGS[s.averaging].keys()):
        value = getattr(s, name)
        if value is not None:
            takers = [repr(strategy) for strategy, settings in WAY_SETTINGS.items() if name in settings]
            raise Refused(f"{name}={value} has no effect with averaging={s.averaging!r}: drop it, or use averaging="
                          + " or ".join(takers))


def _check_combinations(s: TrainSettings) -> None:
    """Settings that take the effect from one another."""
    if (s.outer_optimizer or "none") == "none":
        for name in ("outer_learning_rate", "outer_momentum"):
            if getattr(s, name) is not None:
                raise Refused(f"{name}={getattr(s, name)} has no effect with outer_optimizer='none': drop it, or use "
                              "outer_optimizer='sgd' or 'nesterov'")
    if (s.buckets or 1) > 1 and (s.accumulate or 1) > 1:
        raise Refused(f"buckets={s.buckets} has no effect with accumulate={s.accumulate}, which averages after the backward "
                      "pass: drop one of them")
    if s.server == "async" and s.aggregate is not None:
        raise Refused(f"aggregate={s.aggregate} has no effect with server='async', which applies each gradient as it "
                      "comes: drop it, or use server='sync'")
    if s.elastic_rate is not None and s.elastic_rate > 1:
        raise Refused(f"elastic_rate={s.elastic_rate} must be at most 1: the centre would overshoot the ranks; try 0.9")
    if s.averaging == "adaptive":
        _check_bounds(s)


def _check_data_and_model(s: TrainSettings) -> None:
    if s.validation_split is not None:
        if _is_named(s.data):
            raise Refused(f"validation_split={s.validation_split} has no effect with data={s.data!r}, which brings its own "
                          "validation samples: drop it")
        if s.validation_data is not None:
            raise Refused(f"validation_split={s.validation_split} has no effect with validation_data="
                          f"{s.validation_data!r}: drop one of them")
    if s.output_activation is not None and ":" in s.model:
        raise Refused(f"output_activation={s.output_activation!r} has no effect with model={s.model!r}, which makes its own "
                      "last layer: drop it")


def _is_named(data: str) -> bool:
    """Whether these are data that bring validation samples of their own, whatever the split."""
    return data.partition(":")[0] in _NAMED_DATA


def _check_bounds(s: TrainSettings) -> None:
    defaults = WAY_SETTINGS["adaptive"]
    lowest, highest = (getattr(s, name) or defaults[name] for name in ("min_sync_every", "max_sync_every"))
    if lowest > highest:
        raise Refused(f"min_sync_every={lowest} must not be above max_sync_every={highest}: lower it, or raise the other")
    if s.sync_every is not None and not lowest <= s.sync_every <= highest:
        raise Refused(f"sync_every={s.sync_every} must lie within min_sync_every={lowest} and max_sync_every={highest}: "
                      "move it, or one of them")


def _one_of(name: str, value: str, allowed) -> None:
    if value not in allowed:
        raise Refused(f"{name}={value!r} is not known: use one of {', '.join(allowed)}")


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise Refused(f"{name}={value} must be at least {least}: give a larger number, or leave it out")


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
            flags += [f"{flag}={value}"]  # in one, so that a value may begin with a hyphen
    return flags
