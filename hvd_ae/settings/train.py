"""What `hvd-ae train` can be told, by the groups in which its help shows it."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from hvd_ae.errors import Refused
from hvd_ae.settings.averaging import OUTER_DEFAULTS, STRATEGIES, AveragingSettings
from hvd_ae.settings.fields import check_bounds, setting
from hvd_ae.settings.models import MODELS, WIDTHS, ModelSettings, check_models_settings
from hvd_ae.settings.tasks import COUNT_LOSSES, TASKS, TaskSettings, check_tasks_settings
from hvd_ae.settings.training import OptimizationSettings, check_training, training_defaults
from hvd_ae.settings.units import parse_bytes

Partition = Literal["contiguous", "strided", "shuffled", "label-skew", "reshuffled"]
Collectives = Literal["horovod", "mpi", "single"]
LogLevel = Literal["info", "warning", "error"]
Normalize = Literal["none", "standard", "minmax", "robust", "log1p", "log1p+standard"]
NormalizePer = Literal["feature", "channel", "all"]
Missing = Literal["refuse", "mean", "zero"]


@dataclass(frozen=True)
class DataSettings:
    """data"""

    data: str = setting("digits", "digits, mnist, fashion-mnist, synthetic:COUNTxDIM, a file, a folder, 'a pattern', or "
                        "package.module:function; PATH:MEMBER names one of a file's arrays (docs/data.md has the formats).")
    labels: str | None = setting(None, "Classes of the samples: a member beside them in the same file, or a file.")
    targets: str | None = setting(None, "What outputs are compared with (supervised, denoising of measured pairs, a task of "
                                 "your own): a member beside the samples, or a file.")
    condition: str | None = setting(None, "A second input of encoder and decoder: a member beside the samples, or a file, of "
                                   "numbers; or labels, the classes that the data have.")
    columns: str | None = setting(None, "Of a table, the columns that make a sample, with commas between them [all numbers].")
    rows: str | None = setting(None, "first:end, the samples of a path to take, from 0 [all].")
    validation_data: str | None = setting(None, "Path to validation samples; without it a path's last samples are taken.")
    validation_split: float | None = setting(None, "Part of a path's samples kept for validation where the data bring none of "
                                             "their own [0.1].", above=0, example=0.1)
    validation_samples: int | None = setting(None, "The first so many of the validation samples [all].", at_least=1)
    normalize: Normalize = setting("none", "What a model sees of the data, by statistics of the training samples; saved "
                                   "models take raw data.", same_on_resume=True)
    normalize_per: NormalizePer | None = setting(None, "What has a scale of its own: each feature, each channel (the last "
                                                 "axis), or all together [feature for samples of one axis, else channel].",
                                                 same_on_resume=True)
    missing: Missing = setting("refuse", "What NaN is: refused, or a value that is missing, which no loss counts and in whose "
                               "place a model is given the mean, or 0.", same_on_resume=True)
    shuffle_memory: str | None = setting(None, "What all ranks together may hold of the data at a time, such as 2GB; more "
                                         "is shuffled within windows [half of the memory that is free].")
    stage: str | None = setting(None, "Folder on each node's own disk to copy the data into first; removed at the end.")
    partition: Partition = setting("reshuffled", "Which samples are a rank's own; reshuffled deals them anew every epoch.",
                                   same_on_resume=True)
    concentration: float | None = setting(None, "Dirichlet concentration of label-skew, smaller meaning more different ranks "
                                          "[0.5].", above=0, example=0.5, same_on_resume=True)


@dataclass(frozen=True)
class RunSettings:
    """run"""

    collectives: Collectives | None = setting(None, "Who moves the vectors [horovod where it is installed, else mpi; single "
                                              "for one process].")
    threads: int | None = setting(None, "Threads per rank [the cores this rank may use, shared fairly with the other ranks of "
                                  "its node].", at_least=1)
    run_dir: str | None = setting(None, "Where everything goes [runs/ and a name made of date, data, model and averaging].")
    resume: bool = setting(False, "Go on from the newest good checkpoint in --run-dir; start from nothing where there is "
                           "none.")
    as_ranks: int | None = setting(None, "Keep the global batch and learning rate of so many ranks, --batch-size and "
                                   "--accumulate following from it: so `hvd-ae run` and the job scripts go on when ranks were "
                                   "lost [the ranks there are].", at_least=1)
    checkpoint_every: int = setting(1, "Epochs between checkpoints; 0 writes none but the last.", at_least=0)
    checkpoint_minutes: float | None = setting(None, "Minutes between checkpoints, also within an epoch [only by epochs].",
                                               above=0, example=10)
    checkpoint_in_background: bool = setting(False, "Train on while a checkpoint is written, where there is memory for what "
                                             "changes meanwhile.")
    keep_checkpoints: int = setting(2, "The newest so many; older ones are deleted.", at_least=1)
    check_every: int = setting(100, "Steps between checks that ranks are in sync.", at_least=1)
    stall_timeout: float = setting(600.0, "Seconds that a rank may wait for another before the job ends and says for which; 0 "
                                   "waits for ever.", at_least=0)
    track: str | None = setting(None, "tensorboard, mlflow, csv: what also records the run, with commas between them "
                                "(docs/watching.md).")
    quiet: bool = setting(False, "Show no progress, and of what is said only warnings and errors.")
    log_level: LogLevel | None = setting(None, "How much is said [info; warning with --quiet].")


@dataclass(frozen=True)
class TrainSettings(RunSettings, AveragingSettings, OptimizationSettings, ModelSettings, TaskSettings, DataSettings):
    """Train a model; start it alone, or with mpirun -np N, horovodrun -np N or srun."""

    def resolved(self) -> "TrainSettings":
        """These settings, checked, and with the defaults of the strategy, partition and model filled in.

        Raises:
            Refused: naming the value, the rule and the way out.
        """
        if self.averaging not in STRATEGIES:
            raise Refused(f"averaging={self.averaging!r} is not known: use one of {', '.join(STRATEGIES)}")
        check_bounds(self)
        if self.shuffle_memory is not None:
            _check_bytes("shuffle_memory", self.shuffle_memory)
        _refuse_what_another_takes(self, AveragingSettings, "averaging", STRATEGIES)
        _refuse_what_another_takes(self, TaskSettings, "task", TASKS)
        _refuse_what_another_takes(self, ModelSettings, "model", MODELS)
        _check_combinations(self)
        check_training(self)
        check_tasks_settings(self)
        check_models_settings(self)
        return dataclasses.replace(self, **_defaults(self))


def _check_bytes(name: str, value: str) -> None:
    try:
        parse_bytes(value)
    except ValueError:
        raise Refused(f"{name}={value!r} is no amount of memory: write for instance 2GB, or 500MB") from None


def strategy_defaults(averaging: str) -> dict[str, object]:
    """The settings that a strategy takes, and their defaults."""
    return _own_defaults(AveragingSettings, averaging)


def _own_defaults(group: type, name: str) -> dict[str, object]:
    """The settings of a group that this strategy, task or model takes, and their defaults there."""
    return {field.name: field.metadata["own_default"] for field in dataclasses.fields(group) if name in field.metadata["of"]}


def same_on_resume() -> tuple[str, ...]:
    """The settings that must be as they were for a resumed run to be the same run."""
    return tuple(field.name for field in dataclasses.fields(TrainSettings) if field.metadata["same_on_resume"])


def _refuse_what_another_takes(s: TrainSettings, group: type, chooser: str, built_in: Collection[str]) -> None:
    """Refuse settings that mean nothing to the strategy, task or model that is chosen.

    A task of the user's own is given all settings, and reads those that it likes.
    """
    chosen = getattr(s, chooser)
    if chooser == "task" and chosen not in built_in:
        return
    for field in dataclasses.fields(group):
        value, takers = getattr(s, field.name), field.metadata["of"]
        if takers and value is not None and chosen not in takers:
            named = " or ".join(map(repr, takers))
            raise Refused(f"{field.name}={value} has no effect with {chooser}={chosen!r}: drop it, or use "
                          f"{chooser}={named}")


def _check_combinations(s: TrainSettings) -> None:
    """Settings that take the effect from one another."""
    if s.validation_split is not None and not s.validation_split < 1:
        raise Refused(f"validation_split={s.validation_split} must be between 0 and 1: 0.1 keeps a tenth of the samples")
    if s.concentration is not None and s.partition != "label-skew":
        raise Refused(f"concentration={s.concentration} has no effect with partition={s.partition!r}: drop it, or use "
                      "partition='label-skew'")
    if s.output_activation is not None and ":" in s.model:
        raise Refused(f"output_activation={s.output_activation!r} has no effect with model={s.model!r}, which has an output "
                      "of its own: drop it")
    if s.normalize_per is not None and s.normalize in ("none", "log1p") and s.missing != "mean":
        raise Refused(f"normalize_per={s.normalize_per!r} has no effect with normalize={s.normalize!r}: drop it, or use for "
                      "instance normalize='standard'")
    if s.resume and s.run_dir is None:
        raise Refused("resume=True needs a folder to go on in: give --run-dir")
    if s.quiet and s.log_level == "info":
        raise Refused("log_level='info' has no effect with quiet=True, which shows no more than warnings: drop one of them")
    if (s.outer_optimizer or "none") == "none":
        for name in ("outer_learning_rate", "outer_momentum"):
            if getattr(s, name) is not None:
                raise Refused(f"{name}={getattr(s, name)} has no effect with outer_optimizer='none': drop it, or use "
                              "outer_optimizer='sgd' or 'nesterov'")
    if (s.buckets or 1) > 1 and (s.accumulate or 1) > 1:
        raise Refused(f"buckets={s.buckets} has no effect with accumulate={s.accumulate}, which averages after the backward "
                      "pass: drop one of them")
    if s.sync_batch_norm and (s.buckets or 1) > 1:
        raise Refused(f"buckets={s.buckets} averages while the backward pass goes on, in which sync_batch_norm=True has sums "
                      "of its own: drop one of them")
    if s.ema is not None and not s.ema < 1:
        raise Refused(f"ema={s.ema} must be below 1: 0.999 averages over about a thousand updates")
    if s.server == "async" and s.aggregate is not None:
        raise Refused(f"aggregate={s.aggregate} has no effect with server='async', which applies each gradient as it "
                      "comes: drop it, or use server='sync'")
    if s.elastic_rate is not None and s.elastic_rate > 1:
        raise Refused(f"elastic_rate={s.elastic_rate} must be at most 1: the centre would overshoot the ranks; try 0.9")
    if s.averaging == "adaptive":
        _check_period_bounds(s)


def _check_period_bounds(s: TrainSettings) -> None:
    lowest, highest = _period_bounds(s)
    if lowest > highest:
        raise Refused(f"min_sync_every={lowest} must not be above max_sync_every={highest}: lower it, or raise the other")
    if s.sync_every is not None and not lowest <= s.sync_every <= highest:
        raise Refused(f"sync_every={s.sync_every} must lie within min_sync_every={lowest} and max_sync_every={highest}: "
                      "move it, or one of them")


def _period_bounds(s: TrainSettings) -> tuple[int, int]:
    defaults = strategy_defaults("adaptive")
    return tuple(getattr(s, name) or defaults[name] for name in ("min_sync_every", "max_sync_every"))


def _defaults(s: TrainSettings) -> dict[str, object]:
    """What is None and depends on other settings."""
    defaults = (strategy_defaults(s.averaging) | OUTER_DEFAULTS.get(s.outer_optimizer or "none", {})
                | _own_defaults(TaskSettings, s.task) | _own_defaults(ModelSettings, s.model))
    defaults |= training_defaults(s)
    if s.averaging == "adaptive":
        lowest, highest = _period_bounds(s)
        defaults["sync_every"] = min(max(defaults["sync_every"], lowest), highest)
    if s.partition == "label-skew":
        defaults["concentration"] = 0.5
    if s.model in WIDTHS:
        defaults["widths"] = WIDTHS[s.model]
    if ":" not in s.model:
        defaults["output_activation"] = _output_activation(s)
    return {name: value for name, value in defaults.items() if getattr(s, name) is None}


def _output_activation(s: TrainSettings) -> str | None:
    """That which keeps outputs where the loss, or else the data, have them; None where the task has one of its own."""
    if s.task == "classification" or s.loss in COUNT_LOSSES:
        return None
    if s.task == "supervised":
        return "sigmoid" if s.loss == "bce" else "linear"
    return "sigmoid" if s.normalize in ("none", "minmax") else "linear"
