"""The project's targets as data, each with the function that computes what was reached from one run's rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from benchmarks import input_ratios
from benchmarks.allreduce import DEEP
from benchmarks.ratios import median, most, over
from benchmarks.rows import runs

HOURS = 3  # different ones, in which a target has to hold
MOST_OF_OTHERS = 0.05  # of the cores' time: beside more, a run does not count
MOST_LOAD_BEFORE = 0.5  # the same for rows from before that was measured


@dataclass(frozen=True)
class Target:
    """At least, or at most, this much."""

    number: int
    text: str
    bound: float
    benchmark: str | None  # whose rows show it; None where no benchmark does
    reached: Callable[[list[dict]], float | None] = lambda rows: None  # from one run's rows; None: they do not show it
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Verdict:
    """What became of a target."""

    target: Target
    values: list[float]  # of the runs that decided, the newest first
    verdict: str  # met, missed, not yet thrice or not measured
    run: dict | None  # a row of the newest of them
    left_out: list[tuple[float, str]]  # what each run reached that does not count, and why it does not


def judge(history: dict[str, list[dict]]) -> list[Verdict]:
    """Every target by the newest runs that show it; `history` holds all rows by benchmark."""
    return [_judge(target, history.get(target.benchmark, [])) for target in TARGETS]


def _judge(target: Target, rows: list[dict]) -> Verdict:
    """Met when it holds in all runs back to the third that began at another hour, of those beside which nothing else ran."""
    values, hours, newest, left_out = [], [], None, []
    for run in runs(rows):
        value, why = target.reached(run), disturbed(run)
        if value is None or len(hours) == HOURS:
            continue
        if why:
            left_out.append((value, why))
            continue
        values.append(value)
        newest = newest or run[0]
        began = datetime.fromisoformat(run[0]["run"])
        if not hours or hours[-1] - began >= timedelta(hours=1):
            hours.append(began)
    if not values:
        verdict = "not measured"
    elif not all(map(target.met, values)):
        verdict = "missed"
    else:
        verdict = "met" if len(hours) == HOURS else "not yet thrice"
    return Verdict(target, values, verdict, newest, left_out)


def disturbed(run: list[dict]) -> str | None:
    """Why a run does not count: what else went on while it was measured; None where that was little."""
    shares = [row["others_share"] for row in run if row.get("others_share") is not None]
    if shares:
        return f"others took {max(shares):.0%} of the cores" if max(shares) > MOST_OF_OTHERS else None
    load = run[0]["load_before"]
    return f"load {load:g} before it" if load > MOST_LOAD_BEFORE else None


def is_ours(contestant: str) -> bool:
    return contestant.startswith("hvd_ae")


def best(rows: list[dict], fits: Callable[[str], bool]) -> float | None:
    """Of the contestants that compute in float32."""
    return most(row["median"] for row in rows if fits(row["contestant"]) and not row["contestant"].endswith("bfloat16"))


def best_synchronous(rows: list[dict]) -> float | None:
    return best(rows, lambda name: name.startswith(("hvd_ae gradient", "hvd_ae sharded")))


def best_peer(rows: list[dict]) -> float | None:
    return best(rows, lambda name: not is_ours(name))


def over_floor(rows: list[dict]) -> float | None:
    """Seconds of forward and backward alone over those of a whole step: the fastest of each, over engines."""
    seconds = {"floor": [], "step": []}
    for row in rows:
        if row["median"] is not None:
            seconds["floor"] += [row["median"]] if row["part"] == "forward and backward" else []
            seconds["step"] += [row["median"]] if row["part"] in ("training, gradient", "training, sharded") else []
    return over(min(seconds["floor"], default=None), min(seconds["step"], default=None))


def weak_efficiency(*strategies: str) -> Callable[[list[dict]], float | None]:
    """Speed of two ranks over twice that of one, each with the fastest of these strategies."""
    def efficiency(rows: list[dict]) -> float | None:
        one, two = (most(median(rows, kind="weak", strategy=strategy, ranks=ranks) for strategy in strategies)
                    for ranks in (1, 2))
        return over(two, 2 * one if one else None)

    return efficiency


def one_rank(rows: list[dict], kind: str) -> float | None:
    """The fastest strategy's speed on one rank with one thread: nothing is communicated there."""
    return most(row["median"] for row in rows if (row["kind"], row["ranks"], row["threads"]) == (kind, 1, 1))


def engine_over_mpi(rows: list[dict]) -> float | None:
    """The slower engine's time over that of bare MPI, for a vector as large as the gradient of the model `deep`."""
    times = [median(rows, bytes=DEEP, contestant=name) for name in ("horovod", "mpi")]
    return over(most(times), median(rows, bytes=DEEP, contestant="MPI"))


def slow_link(strategy: str) -> Callable[[list[dict]], float | None]:
    """Its speed on the slow link over that of `parameter` without it, each with the engine that is faster."""
    def fastest(rows: list[dict], link: str, strategy: str) -> float | None:
        return most(median(rows, link=link, strategy=name) for name in (strategy, f"{strategy}@mpi"))

    return lambda rows: over(fastest(rows, "100 Mbit/s", strategy), fastest(rows, "unlimited", "parameter H=64"))


def hidden(rows: list[dict]) -> float | None:
    """At 1 Gbit/s: the time that buckets save a step, over the smaller of communication and backward pass.

    Communication is what `gradient` takes more than `none`, the backward pass two thirds of a step of `none`.
    """
    def seconds(*strategies: str) -> float | None:
        return over(1.0, most(median(rows, link="1 Gbit/s", strategy=strategy) for strategy in strategies))

    alone, whole, cut = seconds("none"), seconds("gradient"), seconds("gradient K=2", "gradient K=4")
    return over(whole - cut, min(whole - alone, 2 / 3 * alone)) if alone and whole and cut else None


def cost_in_error(strategy: str) -> Callable[[list[dict]], float | None]:
    """Its validation error at the end over that of `gradient`."""
    def cost(rows: list[dict]) -> float | None:
        errors = {row["strategy"]: row["val_mse"] for row in rows if row["link"] is None and row["val_mse"] is not None}
        return over(errors.get(strategy), errors.get("gradient"))

    return cost


def mapped_gigabytes(rows: list[dict]) -> float | None:
    """Peak over the baseline of the rank that has most, all numbers of ranks considered, for a file of 4 GB."""
    beyond = []
    for row in (row for row in rows if row["how"] == "memory-mapped" and row["data_bytes"] >= 3.9e9):
        little = [other["peak"] for other in rows if other["how"] == "little" and other["ranks"] == row["ranks"]]
        if row["peak"] and little and little[0]:
            beyond.append((row["peak"] - little[0]) / 1e9)
    return most(beyond)


def mapped_speed(rows: list[dict]) -> float | None:
    """The worst over numbers of ranks."""
    ratios = [over(median(rows, how="memory-mapped", ranks=ranks), median(rows, how="in memory", ranks=ranks))
              for ranks in sorted({row["ranks"] for row in rows})]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def vectors(strategy: str) -> Callable[[list[dict]], float | None]:
    """With the engine that takes less."""
    return lambda rows: min((row["vectors"] for row in rows
                             if row["strategy"] == strategy and row["ranks"] == 2 and row["vectors"]), default=None)


def startup(beginning: str) -> Callable[[list[dict]], float | None]:
    """The slowest of what begins so."""
    return lambda rows: most(row["median"] for row in rows if row["what"].startswith(beginning))


TARGETS = (
    Target(1, "`gradient` or `sharded` over the best peer, samples/s", 1.25, "peers",
           lambda rows: over(best_synchronous(rows), best_peer(rows))),
    Target(1, "the same over PyTorch DDP", 1.8, "peers",
           lambda rows: over(best_synchronous(rows), best(rows, lambda name: name.startswith("PyTorch DDP")))),
    Target(2, "speed of a step over that of forward and backward alone", 0.85, "step", over_floor),
    Target(3, "`parameter` H=16 over `none`, samples/s", 0.97, "peers",
           lambda rows: over(median(rows, contestant="hvd_ae parameter H=16"), median(rows, contestant="hvd_ae none"))),
    Target(4, "weak scaling from 1 to 2 ranks, `gradient` or `sharded`", 0.92, "scaling",
           weak_efficiency("gradient", "sharded", "sharded@mpi")),
    Target(4, "weak scaling from 1 to 2 ranks, `parameter`", 0.98, "scaling",
           weak_efficiency("parameter H=16", "parameter H=64")),
    Target(5, "the slower engine's seconds over bare `MPI_Allreduce`, 4.6 MB", 1.3, "allreduce", engine_over_mpi,
           at_most=True),
    Target(6, "`parameter` H=64 on 100 Mbit/s over unlimited, samples/s", 0.90, "network", slow_link("parameter H=64")),
    Target(6, "`val_mse` of `parameter` H=64 over that of `gradient`", 1.10, "network", cost_in_error("parameter H=64"),
           at_most=True),
    Target(6, "`overlapped` H=64 on 100 Mbit/s over `parameter` unlimited, samples/s", 0.90, "network",
           slow_link("overlapped H=64")),
    Target(6, "`val_mse` of `overlapped` H=64 over that of `gradient`", 1.10, "network", cost_in_error("overlapped H=64"),
           at_most=True),
    Target(7, "4 GB memory-mapped: GB resident over the baseline, worst rank", 1.0, "memory", mapped_gigabytes,
           at_most=True),
    Target(7, "memory-mapped over in memory, samples/s, worst number of ranks", 0.80, "memory", mapped_speed),
    Target(8, "P1B1 on two ranks: peak resident size in vectors, `gradient`", 6.0, "p1b1", vectors("gradient"),
           at_most=True),
    Target(8, "the same, `sharded`", 5.0, "p1b1", vectors("sharded"), at_most=True),
    Target(9, "seconds to `hvd-ae --help`", 0.5, "startup", startup("hvd-ae --help"), at_most=True),
    Target(9, "seconds to the first step beyond importing TensorFlow", 3.0, "startup",
           startup("first step beyond"), at_most=True),
    Target(10, "`--buckets`: part of what could be hidden that is, at 1 Gbit/s", 0.5, "network", hidden),
    Target(11, "bytes decoded by all ranks in an epoch over those of the data, the worst format and ranks", 1.05, "input",
           input_ratios.decoded, at_most=True),
    Target(12, "reading in windows on 2 ranks over decoding in order on 2 processes, HDF5, samples/s", 0.85, "input",
           input_ratios.windows_over_in_order),
    Target(13, "training from gzip HDF5, first epoch, over the same from `.npy` in memory, samples/s", 0.80, "input",
           input_ratios.training("first epoch")),
    Target(13, "the same, later epochs", 0.97, "input", input_ratios.training("training")),
    Target(14, "reading in windows on 2 ranks over the best peer that shuffles as well, samples/s", 1.5, "input",
           input_ratios.windows_over("shuffles")),
    Target(14, "the same over PyTorch `DataLoader` with random samples", 50.0, "input", input_ratios.windows_over("random")),
    Target(15, "reading contiguous HDF5 over `.npy`, samples/s", 0.95, "input", input_ratios.contiguous_over_npy),
    Target(16, "`val_mse` of data sorted by class, with windows of a tenth, over that of a uniform shuffle", 1.02, "input",
           input_ratios.cost_of_windows, at_most=True),
    Target(17, "8 GB of HDF5 with --shuffle-memory 1GB on 2 ranks: GB of a rank beyond a small data set's", 1.3, "input",
           input_ratios.gigabytes_beyond, at_most=True),
)
