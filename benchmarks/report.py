"""Tables, pictures and one page from rows alone: needs neither TensorFlow nor MPI."""

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plots, rows
from benchmarks.tables import TABLES, Table, markdown
from benchmarks.tables import targets as table_of_targets
from benchmarks.targets import judge
from hvd_ae.runs.files import replacing, write_atomically
from hvd_ae.settings.fields import setting

_STYLE = ("body{font:15px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
          "td,th{padding:.15em .7em;text-align:left;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}"
          "td,th{white-space:nowrap}.text{white-space:normal}img{max-width:100%}.about{color:#555}"
          ".met{color:#176117}.missed{color:#a01010}")
_WIDE = 30  # letters; longer text may be broken


@dataclass(frozen=True)
class Report:
    """Where the rows are, and the report goes."""

    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def main(settings: Report) -> int:
    """Write report.md, report.html and a PNG for each benchmark that has rows; print the targets."""
    history = {name: rows.read(name, settings.results) for name in TABLES}
    newest = {name: rows.latest(found) for name, found in history.items() if found}
    if not newest:
        print(f"there are no rows in {settings.results} yet: run `make bench`, or `python -m benchmarks NAME`")
        return 1
    verdicts = table_of_targets(judge(history))
    tables = {name: TABLES[name](found) for name, found in newest.items()}
    for name, found in newest.items():
        with replacing(settings.results / f"{name}.png") as partial:
            plots.draw(name, found).savefig(partial)
    write_atomically(settings.results / "report.md", _markdown(verdicts, tables, newest))
    write_atomically(settings.results / "report.html", _page(verdicts, tables, newest, settings.results))
    print(markdown(verdicts))
    return 0


def about(row: dict) -> str:
    """When, on what, and with what a run was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items() if version)
    short = "short run, " if row["settings"].get("short") else ""
    others = row.get("others_share")
    beside = "" if others is None else f", others took {others:.0%} of the cores"
    return (f"{short}{row['run'][:16].replace('T', ' ')}, commit {row['commit']}, {row['cores']} cores of {row['cpu']}, "
            f"{row['memory_bytes'] / 2**30:.0f} GiB, load {row['load_before']} before it{beside}; Python {row['python']}, "
            f"{versions}")


def _markdown(verdicts: Table, tables: dict[str, Table], newest: dict[str, list[dict]]) -> str:
    parts = ["# Measured", "What the columns mean is told in [README.md](../README.md).", "## Targets", markdown(verdicts)]
    for name, table in tables.items():
        parts += [f"## {name}", f"{about(newest[name][0])}.", f"![{name}]({name}.png)", markdown(table)]
    return "\n\n".join(parts) + "\n"


def _page(verdicts: Table, tables: dict[str, Table], newest: dict[str, list[dict]], folder: Path) -> str:
    """One HTML file that needs no other."""
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>hvd_ae, measured</title><style>{_STYLE}</style>",
             "<h1>hvd_ae, measured</h1><h2>Targets</h2>", _html(verdicts)]
    for name, table in tables.items():
        picture = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        parts += [f"<h2>{name}</h2><p class=about>{html.escape(about(newest[name][0]))}</p>",
                  f"<img alt='{name}' src='data:image/png;base64,{picture}'>", _html(table)]
    return "\n".join([*parts, "</html>\n"])


def _html(table: Table) -> str:
    def cell(text: str) -> str:
        kind = text if text in ("met", "missed") else "text" if len(text) > _WIDE else ""
        return f"<td class='{kind}'>{html.escape(text.replace('`', ''))}</td>"

    head, *body = table
    lines = ["<tr>" + "".join(f"<th>{html.escape(text)}</th>" for text in head) + "</tr>"]
    return "<table>" + "".join([*lines, *("<tr>" + "".join(map(cell, line)) + "</tr>" for line in body)]) + "</table>"
