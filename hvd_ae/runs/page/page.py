"""The page itself: templates filled with what a run folder holds."""

import functools
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hvd_ae.runs.files import write_atomically
from hvd_ae.runs.page import comparison, sections
from hvd_ae.runs.page.read import Run, read_run

NAME = "report.html"


def write_page(folder: Path, path: Path | None = None, is_live: bool = False, records: list[dict] | None = None) -> Path:
    """Write a run's page, whole or not at all; returns where.

    Args:
        path: another place than the run folder.
        is_live: whether the run goes on, so that a browser looks again every half minute.
        records: of its epochs, where they are known already.

    Raises:
        Refused: there is no run.
        NotWritten: the file is as it was.
    """
    path = path or Path(folder) / NAME
    write_atomically(path, page(read_run(Path(folder), records), is_live))
    return path


def page(run: Run, is_live: bool = False) -> str:
    """The page of one run, as HTML."""
    first, worst = sections.sample_parts(run)
    return _environment().get_template("run.html").render(
        run=run, is_live=is_live, tiles=sections.tiles(run), curves=sections.curves(run), speed=sections.speed(run),
        first=first, worst=worst, codes=sections.codes(run), score=sections.scored(run), probe=sections.probed(run),
        data=sections.data_facts(run), settings=run.config.items(),
        versions=[(name, version or "–") for name, version in run.about.get("versions", {}).items()], subtitle=_subtitle(run))


def compare_page(runs: Sequence[Run], folder: Path) -> str:
    """One page with several runs, as HTML that will lie in this folder."""
    return _environment().get_template("runs.html").render(
        runs=runs, header=comparison.HEADER, table=comparison.table(runs, folder), differences=comparison.differences(runs),
        curves=comparison.curves(runs))


@functools.cache
def _environment() -> Environment:
    loader = PackageLoader("hvd_ae.runs.page", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {name: Markup(loader.get_source(environment, file)[0])  # ours, and no text of a user's
                            for name, file in (("style", "page.css"), ("script", "page.js"))}
    return environment


def _subtitle(run: Run) -> str:
    config, about = run.config, run.about
    every = f" every {config['sync_every']} steps" if config.get("sync_every") else ""
    parameters = f" ({about['parameters']:,} parameters)" if about.get("parameters") else ""
    ranks = about.get("ranks") or (run.summary or {}).get("ranks")
    on = f" on {ranks} rank{'s' * (ranks != 1)}" if ranks else ""
    return (f"{config.get('model')}{parameters} on {config.get('data')}, {config.get('averaging')} averaging{every}{on}, "
            f"{config.get('optimizer')}")
