"""From measurements to predictions: a table, a sentence of advice, plan.json and plan.png."""

import dataclasses
import json
import math
import os
from pathlib import Path

from hvd_ae.averaging.cost import Job, Link
from hvd_ae.commands.plan.achieved import achieved, finished
from hvd_ae.commands.plan.advice import MOST, about, advice, table
from hvd_ae.commands.plan.measure import measure
from hvd_ae.commands.plan.model import has_period, no_link, predict, predicted
from hvd_ae.errors import Refused
from hvd_ae.runtime.world import read_launch
from hvd_ae.settings.commands import PlanSettings


def plan(settings: PlanSettings) -> None:
    """Measure, unless there is a file to read, and predict (under a launcher every rank calls it).

    Raises:
        Refused: a file that holds no measurements, or too few of them for what is asked.
    """
    wanted, summary = _wanted(settings), finished(settings.run) if settings.run else None  # refused before measuring
    measured, is_root = (_read(settings.measured), _is_root()) if settings.measured else measure(settings)
    if not is_root:
        return
    folder = Path(settings.output)
    if not settings.measured:
        _write(folder / "plan-measured.json", measured)
    job = make_job(measured, settings)
    if settings.run:
        print(achieved(job, settings.run, summary), flush=True)
        return
    rows = [predict(job, strategy, every, ranks) for ranks in ranks_of(settings) for strategy, every in wanted]
    _write(folder / "plan.json", {"measured": measured, "job": dataclasses.asdict(job),
                                  "predictions": [dataclasses.asdict(row) for row in rows]})
    from hvd_ae.commands.plan.curves import draw

    curves = {(strategy, every): [predict(job, strategy, every, ranks) for ranks in _doubling(MOST)]
              for strategy, every in wanted}
    draw(curves, measured, folder / "plan.png")
    print("\n".join([about(job, measured, settings), "", table(rows), "", *advice(job, curves, settings.efficiency)]))
    print(f"\nmeasurements, predictions and curves are in {folder}", flush=True)


def _is_root() -> bool:
    """Whether this process reads the file and speaks, where the ranks need not meet."""
    return read_launch(os.environ).rank == 0


def _wanted(settings: PlanSettings) -> list[tuple[str, int | None]]:
    """Every strategy with each of its periods."""
    periods = _numbers("sync_every", settings.sync_every)
    wanted = []
    for strategy in (strategy.strip() for strategy in settings.averaging.split(",")):
        if strategy not in predicted():
            raise Refused(f"averaging={strategy!r} is not predicted: use some of {', '.join(predicted())}")
        wanted += [(strategy, every) for every in periods] if has_period(strategy) else [(strategy, None)]
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


def _write(path: Path, content: dict) -> None:
    from hvd_ae.runs.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error.strerror}): name another folder with --output") from None
