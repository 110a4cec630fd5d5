"""What the other commands can be told; what they share with `hvd-ae train` is the same field."""

from dataclasses import dataclass
from typing import Literal

from hvd_ae.errors import Refused
from hvd_ae.settings.averaging import STRATEGIES
from hvd_ae.settings.fields import check_bounds, setting, shared
from hvd_ae.settings.train import Collectives, Missing, Normalize, NormalizePer, Partition, TrainSettings

Score = Literal["mse", "mae", "mahalanobis", "code-distance", "elbo"]


def _run(help: str = "The run folder."):
    return setting(None, help, positional=True)


def _columns():
    return setting(None, "Of a table, the columns that make a sample, with commas between them [the run's].")


def _pass():
    return setting(None, "Samples in one pass through the model, per rank; the last bits of results may depend on it "
                   "[1024, or fewer of large samples].", at_least=1)


def _beside(field: str):
    return setting(None, f"Where the {field} of --data are, a member of the same file or a file [where the run had them, in "
                   "the same file].")


@dataclass(frozen=True)
class EvaluateSettings:
    """Print all that a run's task reports as JSON: means over the samples of all ranks."""

    run: str = _run()
    data: str | None = setting(None, "Samples to judge it by [the run's own validation samples].")
    labels: str | None = _beside("labels")
    targets: str | None = _beside("targets")
    condition: str | None = _beside("condition")
    batch_size: int | None = _pass()

    @property
    def beside(self) -> dict[str, str]:
        """By field, what is said to lie beside the samples."""
        given = {name: getattr(self, name) for name in ("labels", "targets", "condition")}
        given = {name: text for name, text in given.items() if text is not None}
        for name, text in given.items():
            if self.data is None:
                raise Refused(f"{name}={text!r} has no effect with the run's own validation samples: drop it, or give --data")
        return given


@dataclass(frozen=True)
class EncodeSettings:
    """Write the codes that a run's encoder gives samples; each rank writes its own rows; goes on where it was killed."""

    run: str = _run()
    data: str = setting(None, "Samples: a name or a path, as `hvd-ae train --data` takes it.")
    output: str = setting(None, "A .npy, .h5 or .parquet to write, float32, row i being of sample i of the data.")
    columns: str | None = _columns()
    condition: str | None = _beside("condition")
    batch_size: int | None = _pass()


@dataclass(frozen=True)
class ReconstructSettings(EncodeSettings):
    """Write what a run's model gives back of samples; each rank writes its own rows; goes on where it was killed."""


@dataclass(frozen=True)
class DecodeSettings:
    """Write what a run's decoder makes of codes; each rank writes its own rows; goes on where it was killed."""

    run: str = _run()
    data: str = setting(None, "Codes, such as `hvd-ae encode` writes: a path, as `hvd-ae train --data` takes it.")
    output: str = setting(None, "A .npy, .h5 or .parquet to write, float32, row i being of code i of the data.")
    condition: str | None = setting(None, "Of a run that was trained with one: a member beside the codes, or a file.")
    batch_size: int | None = _pass()


@dataclass(frozen=True)
class SampleSettings:
    """Write new samples of a variational run: its decoder's of codes that are drawn by seed and number."""

    run: str = _run()
    count: int = setting(None, "How many samples.", at_least=1)
    output: str = setting(None, "A .npy, .h5 or .parquet to write, float32.")
    seed: int | None = setting(None, "Of the draws [the run's].", at_least=0)
    batch_size: int | None = _pass()


@dataclass(frozen=True)
class ExportSettings:
    """Write a run's model, encoder or decoder for programs that know no Keras."""

    run: str = _run()
    format: Literal["onnx", "savedmodel", "npz"] = setting("savedmodel", "onnx, where it is installed, savedmodel or npz, the "
                                                           "weights alone.")
    part: Literal["model", "encoder", "decoder"] = setting("model", "Which of them.")
    output: str | None = setting(None, "A new file, or for savedmodel a new folder [in the run folder, called as the part].")


@dataclass(frozen=True)
class TrackSettings:
    """Tell a tracker of a run that was trained without it, or without a network."""

    run: str = _run()
    to: str = setting(None, "tensorboard, mlflow or csv.")


@dataclass(frozen=True)
class ReportSettings:
    """Make a run's page anew, or put several runs on one page and into one table."""

    runs: tuple[str, ...] = setting((), "Run folders.", positional=True)
    output: str | None = setting(None, "The file to write [report.html of the run folder; of several, report.html here].")
    open: bool = setting(False, "Show it in a browser.")


@dataclass(frozen=True)
class ScoreSettings:
    """Say how odd each sample is, and which lie above a threshold of validation or other normal samples."""

    run: str = _run("The run folder; score.json, score.png and threshold.json are written into it.")
    data: str = setting(None, "Samples to judge: a name or a path, as `hvd-ae train --data` takes it.")
    output: str | None = setting(None, "A .npy, .h5 or .parquet for the scores, float32 [scores.npy in the run folder].")
    score: Score | None = setting(None, "mse or mae: the reconstruction's error; mahalanobis: how far errors and code "
                                  "together lie from those of training samples; code-distance: the code alone; elbo: minus "
                                  "the evidence lower bound in nats, of a variational run [the stored "
                                  "threshold's, else mse].")
    threshold_from: str | None = setting(None, "Normal samples whose quantile becomes the threshold [the one that the run "
                                         "folder keeps, else of the run's validation samples].")
    quantile: float | None = setting(None, "Which quantile [0.99].", above=0, at_most=1, example=0.99)
    contamination: float | None = setting(None, "The same, said as the share above it: 0.01 is the 0.99 quantile.", at_least=0,
                                          example=0.01)
    labels: str | None = setting(None, "0 for normal samples and 1 for odd ones, a member beside the samples or a file: how "
                                 "well the scores tell them apart.")
    columns: str | None = _columns()
    condition: str | None = _beside("condition")
    worst: int = setting(10, "The samples with the highest scores of which score.json says why.", at_least=0)
    batch_size: int | None = _pass()

    def __post_init__(self):
        check_bounds(self)
        if self.contamination is not None and not self.contamination < 1:
            raise Refused(f"contamination={self.contamination} must be below 1: try 0.01")

    @property
    def wanted_quantile(self) -> float | None:
        if self.quantile is not None and self.contamination is not None:
            raise Refused(f"quantile={self.quantile} and contamination={self.contamination} say the same: drop one of them")
        return self.quantile if self.contamination is None else 1.0 - self.contamination

    @property
    def asks_for_threshold(self) -> bool:
        """Whether a threshold that is stored is not to be used."""
        return any(each is not None for each in (self.threshold_from, self.quantile, self.contamination))


@dataclass(frozen=True)
class CompareSettings:
    """Train every averaging strategy from the same start in one job; write records, a table and a picture."""

    averaging: str = setting(
        ",".join([*(name for name in STRATEGIES if name != "none"), "server:async"]),
        "Strategies, with commas between them; one with variants may name one: server:async, gossip:exponential, "
        "gradient:fp16, parameter:nesterov.")
    sync_every: str = setting("16", "Periods H, with commas between them; each strategy that has one is trained with each of "
                              "them.")
    seeds: int = setting(1, "Trainings of each, from seeds 0, 1, ...; the spread over them is shown.", at_least=1)
    data: str = shared(TrainSettings, "data")
    normalize: Normalize = shared(TrainSettings, "normalize")
    normalize_per: NormalizePer | None = shared(TrainSettings, "normalize_per")
    missing: Missing = shared(TrainSettings, "missing")
    partition: Partition = shared(TrainSettings, "partition")
    concentration: float | None = shared(TrainSettings, "concentration")
    model: str = shared(TrainSettings, "model")
    batch_size: int = shared(TrainSettings, "batch_size")
    epochs: int = shared(TrainSettings, "epochs")
    steps: int | None = setting(None, "Stop after as many samples as this many steps of all ranks take.", at_least=1)
    optimizer: str = shared(TrainSettings, "optimizer")
    learning_rate: float = shared(TrainSettings, "learning_rate")
    collectives: Collectives | None = shared(TrainSettings, "collectives")
    run_dir: str = setting("runs/compare", "Where compare.jsonl, compare.md and compare.png go.")


@dataclass(frozen=True)
class ProbeSettings:
    """Classify by a run's codes, beside raw values and principal components: accuracy and confusion matrices."""

    run: str = _run("The run folder; probe.json and probe.png are written into it.")
    epochs: int = setting(10, "Passes over the training samples in which the encoder is fine-tuned.", at_least=1)
    batch_size: int = shared(TrainSettings, "batch_size")
    averaging: str = shared(TrainSettings, "averaging")
    sync_every: int | None = shared(TrainSettings, "sync_every")


@dataclass(frozen=True)
class PlanSettings:
    """Measure a step and the collective here, and predict speed and efficiency on any number of ranks and nodes."""

    data: str = shared(TrainSettings, "data")
    model: str = shared(TrainSettings, "model")
    batch_size: int = shared(TrainSettings, "batch_size")
    loss: str = shared(TrainSettings, "loss")
    optimizer: str = shared(TrainSettings, "optimizer")
    collectives: Collectives | None = shared(TrainSettings, "collectives")
    threads: int | None = shared(TrainSettings, "threads")
    seed: int = shared(TrainSettings, "seed")
    measured: str | None = setting(None, "A plan-measured.json to predict from, instead of measuring.")
    run: str | None = setting(None, "A finished run's folder: its speed beside the prediction, and nothing else.")
    averaging: str = setting("gradient,sharded,parameter", "Averaging strategies, with commas between them.")
    sync_every: str = setting("4,16,64", "Periods H, with commas between them.")
    ranks: str = setting("1,2,4,8,16,64,256,1024,4096,10000", "Numbers of ranks, with commas between them.")
    ranks_per_node: int | None = setting(None, "Ranks of a node [those of a node here].", at_least=1)
    link_latency: float | None = setting(None, "Seconds from node to node, instead of what was measured.", above=0,
                                         example=2e-6)
    link_bandwidth: float | None = setting(None, "Bytes per second from node to node, instead of what was measured.", above=0,
                                           example=12.5e9)
    efficiency: float = setting(0.9, "What the advice aims at: speed of a rank over that of one rank alone.")
    output: str = setting("plan", "Folder of plan-measured.json, plan.json and plan.png.")

    def __post_init__(self):
        check_bounds(self)
        if not 0 < self.efficiency < 1:
            raise Refused(f"efficiency={self.efficiency} must be between 0 and 1: try 0.9")


@dataclass(frozen=True)
class DoctorSettings:
    """Look at what a job on these ranks will stand on: launcher, MPI, Horovod, cores, GPUs, network, files; in seconds."""

    run_dir: str = setting("runs", "Where run folders will go.")
    json: bool = setting(False, "Print a list of {level, check, seen, remedy} instead of lines.")
    collectives: Collectives | None = setting(None, "horovod or mpi [horovod where it is installed].")
    timeout: float = setting(60.0, "Seconds after which a check that does not end is a fault.", above=0, example=60)
    data: str | None = setting(None, "Look at these data too, a name or a path, as `hvd-ae train --data` takes it.")
    labels: str | None = shared(TrainSettings, "labels")
    targets: str | None = shared(TrainSettings, "targets")
    condition: str | None = shared(TrainSettings, "condition")
    columns: str | None = shared(TrainSettings, "columns")
    rows: str | None = shared(TrainSettings, "rows")
    shuffle_memory: str | None = shared(TrainSettings, "shuffle_memory")


@dataclass(frozen=True)
class ConvertSettings:
    """Write data anew as .npy, .h5, .zarr or Parquet files, in order or shuffled once; goes on where it was killed."""

    source: str = setting(None, "Samples: a name or a path, as `hvd-ae train --data` takes it.", positional=True)
    destination: str = setting(None, "A new .npy, .h5 or .zarr, or a folder of Parquet files, which has no such ending.",
                               positional=True)
    labels: str | None = shared(TrainSettings, "labels")
    targets: str | None = shared(TrainSettings, "targets")
    condition: str | None = shared(TrainSettings, "condition")
    columns: str | None = shared(TrainSettings, "columns")
    rows: str | None = shared(TrainSettings, "rows")
    shuffle: bool = setting(False, "Put the samples into the order of the first epoch of a training with this --seed.")
    seed: int = shared(TrainSettings, "seed")
    shuffle_memory: str | None = shared(TrainSettings, "shuffle_memory")
    collectives: Collectives | None = shared(TrainSettings, "collectives")


@dataclass(frozen=True)
class VerifySettings:
    """Prove on these ranks that they average right: one large batch, same bytes, exact resume. Keeps a report."""

    averaging: str = setting("gradient,parameter", "Averaging strategies, with commas between them, or all.")
    collectives: Collectives | None = setting(None, "horovod or mpi [horovod where it is installed].")
    report: str = setting("verify.md", "The Markdown file to write, in a folder that all ranks see.")


@dataclass(frozen=True)
class RunOnRanksSettings:
    """Start `-- train ...` on ranks by mpirun, and again on those that are left when one was lost, with --resume."""

    np: int = setting(None, "Ranks; -np says the same.", at_least=1)
    hosts: str | None = setting(None, "Machines, with commas between them, each with how many ranks it takes: a:4,b:4. What "
                                "is more than -np ranks need is spare [this machine].")
    launcher: str = setting("mpirun", "What starts the ranks, with options of its own.")
    restarts: int | None = setting(None, "At most so many; two in a row that gained no checkpoint end the job in any case "
                                   "[HVD_AE_RESTARTS, else 20].", at_least=0)
    command: str = setting(None, "train and its settings, after --", positional=True)


@dataclass(frozen=True)
class InstallHorovodSettings:
    """Build Horovod for exactly the TensorFlow and the MPI that are here, and check it with two ranks."""

    gpu: bool = setting(False, "Build with NCCL for GPUs.")
    mpi_home: str | None = setting(None, "Folder of another MPI than the one that came with this environment.")
