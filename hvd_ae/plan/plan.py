"""From measurements to predictions: a table, a sentence of advice, plan.json and plan.png."""

import dataclasses
import json
import math
from pathlib import Path

from hvd_ae.config import PlanSettings
from hvd_ae.errors import Refused
from hvd_ae.plan.model import WAYS, Job, Link, Prediction, predict

_MOST = 10_000  # ranks of the curves


def plan(settings: PlanSettings, is_root: bool = True) -> None:
    """Measure, unless there is a file to read, and predict (under a launcher every rank calls it).

    Args:
        is_root: whether this process reads the file and speaks, where there is one.

    Raises:
        Refused: a file that holds no measurements, or too few of them for what is asked.
    """
    wanted = _wanted(settings)
    measured, is_root = (_read(settings.measured), is_root) if settings.measured else _measure(settings)
    if not is_root:
        return
    folder = Path(settings.output)
    if not settings.measured:
        _write(folder / "plan-measured.json", measured)
    job = make_job(measured, settings)
    if settings.run:
        print(achieved(job, settings.run, settings), flush=True)
        return
    rows = [predict(job, way, every, ranks) for ranks in ranks_of(settings) for way, every in wanted]
    _write(folder / "plan.json", {"measured": measured, "job": dataclasses.asdict(job),
                                  "predictions": [dataclasses.asdict(row) for row in rows]})
    from hvd_ae.plan.curves import draw

    curves = {(way, every): [predict(job, way, every, ranks) for ranks in _doubling(_MOST)] for way, every in wanted}
    draw(curves, measured, folder / "plan.png")
    print("\n".join([about(job, measured, settings), "", table(rows), "", *advice(job, curves, settings.efficiency)]))
    print(f"\nmeasurements, predictions and curves are in {folder}", flush=True)


def _measure(settings: PlanSettings) -> tuple[dict, bool]:
    from hvd_ae.importing import import_tensorflow

    import_tensorflow()
    from hvd_ae.plan.measure import measure

    return measure(settings)


def _wanted(settings: PlanSettings) -> list[tuple[str, int | None]]:
    """Every way with each of its periods."""
    periods = _numbers("sync_every", settings.sync_every)
    wanted = []
    for way in (way.strip() for way in settings.ways.split(",")):
        if way not in WAYS:
            raise Refused(f"ways={way!r} is not predicted: use some of {', '.join(WAYS)}")
        wanted += [(way, every) for every in periods] if WAYS[way][1] else [(way, None)]
    return wanted


def ranks_of(settings: PlanSettings) -> list[int]:
    return _numbers("ranks", settings.ranks)


def _numbers(name: str, text: str) -> list[int]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise Refused(f"{name}={text!r} must be whole numbers above 0 with commas between them: 1,4,16")
    return numbers


def _doubling(most: int) -> list[int]:
    return [*(2**power for power in range(int(math.log2(most)) + 1)), most]


def _read(path: str) -> dict:
    try:
        measured = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"measured={path!r} cannot be read ({error.strerror}): `hvd-ae plan` without it measures") from None
    except ValueError:
        measured = None
    needed = ("step_seconds", "step_spread_seconds", "update_seconds", "parameters", "batch_size", "samples", "links")
    missing = [name for name in needed if not isinstance(measured, dict) or name not in measured]
    if missing:
        raise Refused(f"measured={path!r} lacks {missing[0]}: give a plan-measured.json, as `hvd-ae plan` writes it")
    return measured


def make_job(measured: dict, settings: PlanSettings) -> Job:
    """The measurements, with the links and the node that the settings give instead.

    Raises:
        Refused: there is no link, neither measured nor given.
    """
    links = {name: Link(link["latency_seconds"], link["seconds_per_byte"]) for name, link in measured["links"].items()}
    given = settings.link_latency is not None and settings.link_bandwidth is not None
    if (settings.link_latency is None) != (settings.link_bandwidth is None):
        raise Refused("link_latency and link_bandwidth belong together: give seconds and bytes per second, such as 2e-6 and "
                      "12.5e9, or neither")
    if given:
        links["between"] = Link(settings.link_latency, 1 / settings.link_bandwidth)
    if not links:
        raise no_link()
    return Job(
        step=measured["step_seconds"], spread=measured["step_spread_seconds"], update=measured["update_seconds"],
        size=4 * measured["parameters"], batch=measured["batch_size"], samples=measured["samples"],
        inside=links.get("inside", links.get("between")), between=links.get("between", links.get("inside")),
        per_node=settings.ranks_per_node or measured.get("ranks_per_node", 1),
    )


def no_link() -> Refused:
    return Refused("one rank alone shows no link: start `hvd-ae plan` with mpirun -np 2, or give --link-latency and "
                   "--link-bandwidth")


def about(job: Job, measured: dict, settings: PlanSettings) -> str:
    """What the predictions stand on."""
    def line(name: str, link: Link) -> str:
        bandwidth = f"{1e-9 / link.per_byte:.3g} GB/s" if link.per_byte else "no time for bytes"
        return f"{name}: {link.latency * 1e6:.3g} us, {bandwidth}"

    assumed = "between" not in measured["links"] and settings.link_latency is None
    between = "between nodes as inside (none were measured: give --link-latency, --link-bandwidth)" if assumed \
        else line("between nodes", job.between)
    return (f"{measured.get('model')}, {measured['parameters']:,} parameters, {job.batch} samples a rank and step: "
            f"{job.step * 1e3:.3g} ms a step (spread {100 * job.spread / job.step:.2g} %), {job.update * 1e3:.3g} ms of it in "
            f"the optimizer\n{line('inside a node', job.inside)}; {between}; {job.per_node} "
            f"rank{'s' * (job.per_node > 1)} a node")


def name_of(way: str, every: int | None) -> str:
    return f"{way} H={every}" if every else way


def table(rows: list[Prediction]) -> str:
    """Efficiency by ranks (down) and way (across), in Markdown."""
    columns = list(dict.fromkeys((row.way, row.every) for row in rows))
    found = {(row.way, row.every, row.ranks): row for row in rows}
    lines = ["| ranks | nodes | " + " | ".join(name_of(*column) for column in columns) + " |",
             "|" + "---|" * (len(columns) + 2)]
    for ranks in dict.fromkeys(row.ranks for row in rows):
        here = [found[(*column, ranks)] for column in columns]
        lines.append(f"| {ranks} | {here[0].nodes} | " + " | ".join(
            f"{100 * row.efficiency:.0f} %, {row.seconds_per_epoch:.3g} s" for row in here) + " |")
    return "\n".join([*lines, "", "efficiency, and seconds per epoch"])


def advice(job: Job, curves: dict[tuple, list[Prediction]], wanted: float) -> list[str]:
    """Up to how many ranks each way stays efficient, and the smallest H that does where averaging every step does not."""
    sentences = []
    for (way, every), curve in curves.items():
        good = [row.ranks for row in curve if row.efficiency >= wanted]
        many = f"up to {max(good):,} ranks and more" if len(good) == len(curve) else f"up to {max(good, default=1):,} ranks"
        sentences.append(f"{name_of(way, every)}: {100 * wanted:.0f} % {many}")
    for ranks in (64, 1024, _MOST):
        every = smallest_period(job, ranks, wanted)
        sentences.append(f"{ranks:,} ranks: " + (
            "gradient" if every == 1 else f"parameter with H={every} is the smallest H, a power of two, that reaches it"
            if every else "no H reaches it"))
    return sentences


def smallest_period(job: Job, ranks: int, wanted: float) -> int | None:
    """The smallest power of two H with which `parameter` is so efficient; 1 where `gradient` is."""
    if predict(job, "gradient", None, ranks).efficiency >= wanted:
        return 1
    return next((2**power for power in range(1, 15) if predict(job, "parameter", 2**power, ranks).efficiency >= wanted), None)


def achieved(job: Job, run: str, settings: PlanSettings) -> str:
    """A finished run's speed beside the prediction.

    Raises:
        Refused: there is no finished run, or its way is not predicted.
    """
    try:
        summary = json.loads((Path(run) / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Refused(f"run={run!r} holds no summary.json: give the folder of a run that has ended") from None
    way, every, speed = summary["averaging"], summary["sync_every"], summary["samples_per_second"]
    if way not in WAYS:
        raise Refused(f"run={run!r} averaged by {way!r}, which is not predicted: known are {', '.join(WAYS)}")
    if speed is None:
        raise Refused(f"run={run!r} was too short to be timed: train at least two epochs")
    predicted = predict(job, way, every, summary["ranks"])
    return (f"{name_of(way, predicted.every)} on {summary['ranks']} ranks: predicted {predicted.samples_per_second:,.0f} "
            f"samples/s, achieved {speed:,.0f}: {100 * (speed / predicted.samples_per_second - 1):+.1f} %")


def _write(path: Path, content: dict) -> None:
    from hvd_ae.runs.folder import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error.strerror}): name another folder with --output") from None
