"""Two hosts joined by a link of known speed: where averaging less often, or fewer bits of a number, pays."""

import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import jobs, link, rows, strategies
from benchmarks.allreduce import DEEP
from benchmarks.contest import alternate
from benchmarks.data import data_name, epochs_of
from hvd_ae.settings.fields import setting

_RATES = {"unlimited": None, "1 Gbit/s": 1_000_000_000, "100 Mbit/s": 100_000_000}
_BATCH = 128  # of each of the two ranks
_BARE = "MPI_Allreduce"


@dataclass(frozen=True)
class Network:
    """What to measure."""

    strategies: str = setting("none,gradient,gradient K=4,gradient:fp16,sharded@mpi,parameter H=4,parameter H=16,parameter "
                              "H=64,parameter H=64@mpi,overlapped H=64@mpi",
                              "Strategies, with commas between them, each with its compression, buckets (K) or period "
                              "(H) where it has one, and with @ENGINE where it is not to be the default.")
    steps: int = setting(128, "Of each of two epochs of a turn, rounded up to whole periods; a quarter where every step waits "
                         "for the slowest link, and four times as many for `overlapped`, whose last average of an epoch "
                         "cannot be hidden.")
    rounds: int = setting(3, "Times that each strategy has its turn on each link.")
    epochs: int = setting(10, "Of the trainings that show what H=64 costs in validation error; the link does not matter to "
                          "it. 0: none.")
    short: bool = setting(False, "At 1 Gbit/s none and gradient with and without buckets, at 100 Mbit/s parameter and "
                          "overlapped H=64; 24 to 128 steps, one round, no trainings to the end.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Network) -> int:
    """Build the hosts, let the strategies take turns on each link, take the hosts down."""
    names = {speed: list(strategies.names(settings.strategies)) for speed in _RATES}
    if settings.short:
        names = {"unlimited": ["parameter H=64@mpi"], "1 Gbit/s": ["none", "gradient", "gradient K=4"],
                 "100 Mbit/s": ["parameter H=64@mpi", "overlapped H=64@mpi"]}
    rounds, steps, epochs = (1, 24, 0) if settings.short else (settings.rounds, settings.steps, settings.epochs)
    data, found = data_name(), []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        try:
            with link.two_hosts(Path(folder)) as hosts:
                found += _on(hosts, names, Path(folder), steps, rounds)
        except jobs.JobFailed as failure:
            print(f"network: {failure}")
            found += [{"link": speed, "strategy": name, "reason": str(failure), **_NOTHING, **rows.spread([])}
                      for speed in _RATES for name in names[speed]]
    found += [_quality(strategy, data, epochs) for strategy in ("gradient", "parameter H=64", "overlapped H=64")
              if epochs]
    rows.append("network", found, {**asdict(settings), "steps": steps, "rounds": rounds, "epochs": epochs}, settings.results)
    return 0


_NOTHING = {"communication_share": None, "bytes_sent_per_step": None, "val_mse": None, "bits_per_second": None}


def _on(hosts: link.Link, names: dict[str, list[str]], folder: Path, steps: int, rounds: int) -> list[dict]:
    """Strategies take turns, and so do links: what is compared is one strategy on several of them.

    `names` are those of each link.
    """
    extra: dict[tuple, dict] = {}
    turns = {}
    for speed in _RATES:
        turns[speed, _BARE] = partial(_bare, hosts, speed)
        turns |= {(speed, name): partial(_turn, hosts, speed, name, folder, steps, extra) for name in names[speed]}
    outcomes = alternate(turns, rounds)
    return [{"link": speed, "strategy": name, "reason": outcome.reason, **_NOTHING, **extra.get((speed, name), {}),
             "bits_per_second": _RATES[speed], **rows.spread(outcome.values)} for (speed, name), outcome in outcomes.items()]


def _bare(hosts: link.Link, speed: str) -> float:
    """Seconds of one bare all-reduce of the deep model's vector."""
    hosts.hold(_RATES[speed])
    ended = jobs.run(hosts.mpirun(2, *jobs.module("benchmarks.network_ranks", DEEP)), timeout=120, **link.ENVIRONMENT)
    seconds = ended.rows[0]["seconds"]
    print(f"{speed:<11} {_BARE:<15} {seconds * 1e3:>9,.1f} ms", flush=True)
    return seconds


def _turn(hosts: link.Link, speed: str, strategy: str, folder: Path, steps: int, extra: dict) -> float:
    """Samples per second of both ranks; what else the last turn showed goes into `extra`."""
    hosts.hold(_RATES[speed])
    if speed == "100 Mbit/s" and strategy != "none" and strategies.period(strategy) == 1:
        steps //= 4
    elif strategy.startswith("overlapped"):
        steps *= 4
    data = epochs_of(_BATCH * 2 * strategies.steps_for(strategy, steps), folder)
    trained = jobs.train(2, *data, "--model", "deep", "--batch-size", _BATCH, "--threads", 1, *strategies.flags(strategy),
                         launch=hosts.mpirun, **link.ENVIRONMENT)
    extra[speed, strategy] = {"communication_share": trained.communication_share,
                         "bytes_sent_per_step": trained.bytes_sent_per_step}
    print(f"{speed:<11} {strategy:<15} {trained.rate:>9,.0f} samples/s, {trained.communication_share:.0%} communicating",
          flush=True)
    return trained.rate


def _quality(strategy: str, data: str, epochs: int) -> dict:
    """The validation error at the end of a training, without the link."""
    row = {"link": None, "strategy": strategy, "data": data, **_NOTHING, "epochs": epochs, **rows.spread([]), "reason": None}
    try:
        trained = jobs.train(2, "--data", data, "--model", "deep", "--epochs", epochs, *strategies.flags(strategy))
        row["val_mse"] = trained.summary["val_mse"]
    except jobs.JobFailed as failure:
        row["reason"] = str(failure)
    print(f"{strategy}: val_mse {row['val_mse']} after {epochs} epochs", flush=True)
    return row
