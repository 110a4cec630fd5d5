"""What `hvd-ae plan` predicts beside what training then achieves: over ranks, and over links of known speed."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import jobs, link, rows, strategies
from benchmarks.contest import alternate
from benchmarks.data import epochs_of
from hvd_ae.settings.fields import setting

_BATCH = 128  # of each rank
_LINKS = {"unlimited": None, "1 Gbit/s": 1_000_000_000, "100 Mbit/s": 100_000_000}
_LATENCY = 5e-5  # seconds, of a message through the held links
_ETHERNET = 0.95  # of a link's bits are a message's; the rest is headers


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    ranks: str = setting("2,3,4", "On this machine, with commas between them.")
    strategies: str = setting("none,gradient,sharded,parameter H=4", "Strategies, with commas between them, each with "
                              "its period (H) where it has one.")
    collectives: str = setting("horovod", "Who moves the vectors.")
    steps: int = setting(48, "Of each of two epochs of a turn, rounded up to whole periods.")
    rounds: int = setting(2, "Times that each strategy has its turn in each place.")
    short: bool = setting(False, "gradient and parameter H=4, on two ranks and over the link of 1 Gbit/s, one round.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


@dataclass(frozen=True)
class Place:
    """Ranks, and what joins them."""

    name: str
    ranks: int
    launch: Callable[..., list[str]] = jobs.mpirun
    environment: tuple[tuple[str, str], ...] = ()
    bits_per_second: int | None = None
    prepare: Callable[[], None] = lambda: None


def main(settings: Plan) -> int:
    """In every place: measure and predict, then train."""
    names = ["gradient", "parameter H=4"] if settings.short else list(strategies.names(settings.strategies))
    ranks = [2] if settings.short else [int(each) for each in settings.ranks.split(",")]
    rounds = 1 if settings.short else settings.rounds
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        places = [Place(f"{each} ranks", each) for each in ranks]
        try:
            with link.two_hosts(Path(folder)) as hosts:
                places += [Place(name, 2, hosts.mpirun, tuple(link.ENVIRONMENT.items()), bits, partial(hosts.hold, bits))
                           for name, bits in _LINKS.items() if not settings.short or name == "1 Gbit/s"]
                found = _in_turn(places, names, Path(folder), settings, rounds)
        except jobs.JobFailed as failure:
            print(f"plan: without the links: {failure}")
            found = _in_turn(places, names, Path(folder), settings, rounds)
    rows.append("plan", found, {**asdict(settings), "rounds": rounds}, settings.results)
    return 0


def _in_turn(places: list[Place], names: list[str], folder: Path, settings: Plan, rounds: int) -> list[dict]:
    """Predictions first; then all trainings take turns."""
    predicted = {place.name: _predictions(place, names, folder, settings, places[0]) for place in places}
    turns = {(place.name, strategy): partial(_train, place, strategy, folder, settings)
             for place in places for strategy in names}
    outcomes = alternate(turns, rounds)
    return [{"place": place, "strategy": strategy, "reason": outcome.reason, **predicted[place].get(strategy, {}),
             **rows.spread(outcome.values)} for (place, strategy), outcome in outcomes.items()]


def _predictions(place: Place, names: list[str], folder: Path, settings: Plan, first: Place) -> dict[str, dict]:
    """Samples per second by strategy: `predicted` from what was measured in this place, and, where the speed of the link is
    known, `from_elsewhere` from what was measured in the first place and that speed."""
    place.prepare()
    here, there = folder / place.name, folder / first.name / "plan-measured.json"
    found = _plan(place, names, folder, here, settings)
    rates = {strategy: {"predicted": rate, "from_elsewhere": None} for strategy, rate in found.items()}
    if place.bits_per_second and there.exists():
        known = ("--measured", there, "--ranks-per-node", 1, "--link-latency", _LATENCY,
                 "--link-bandwidth", _ETHERNET * place.bits_per_second / 8)
        given = _plan(Place("", 1), names, folder, folder / f"{place.name}-given", settings, *known, ranks=place.ranks)
        for strategy, rate in given.items():
            rates[strategy]["from_elsewhere"] = rate
    return rates


def _plan(place: Place, names: list[str], folder: Path, output: Path, settings: Plan, *more, ranks: int | None = None) -> dict:
    """`hvd-ae plan` in this place: samples per second by strategy; nothing where it failed, which is said."""
    kinds = list(dict.fromkeys(name.partition(" H=")[0] for name in names))
    periods = sorted({strategies.period(name) for name in names})
    ranks = ranks or place.ranks
    data = epochs_of(_BATCH * ranks * settings.steps, folder)[1]
    command = [jobs.HVD_AE, "plan", "--data", data, "--model", "deep", "--batch-size", _BATCH, "--output", output,
               "--collectives", settings.collectives, "--threads", 1, "--ranks", ranks, "--averaging", ",".join(kinds),
               "--sync-every", ",".join(map(str, periods)), *more]
    try:
        jobs.run(place.launch(place.ranks, *map(str, command)), timeout=300, **dict(place.environment))
    except jobs.JobFailed as failure:
        print(f"{place.name}: not predicted: {failure}")
        return {}
    predictions = json.loads((output / "plan.json").read_text(encoding="utf-8"))["predictions"]
    by_name = {each["strategy"] + (f" H={each['every']}" if each["every"] else ""): each for each in predictions}
    return {name: by_name[name]["samples_per_second"] for name in names}


def _train(place: Place, strategy: str, folder: Path, settings: Plan) -> float:
    place.prepare()
    data = epochs_of(_BATCH * place.ranks * strategies.steps_for(strategy, settings.steps), folder)
    trained = jobs.train(place.ranks, *data, "--model", "deep", "--batch-size", _BATCH, "--threads", 1, "--collectives",
                         settings.collectives, *strategies.flags(strategy), launch=place.launch, **dict(place.environment))
    print(f"{place.name:<11} {strategy:<15} {trained.rate:>9,.0f} samples/s", flush=True)
    return trained.rate
