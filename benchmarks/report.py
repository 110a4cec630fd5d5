"""Tables, pictures and one page from rows alone: needs neither TensorFlow nor MPI."""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rows as kept
from benchmarks.targets import TARGETS, Rows

_BENCHMARKS = ("peers", "step", "allreduce")


@dataclass(frozen=True)
class Report:
    """Where rows come from, and the report goes to."""

    results: Path = kept.RESULTS


def main(settings: Report) -> None:
    """Write report.md, report.html and a picture for each benchmark that has rows; print the targets."""
    newest = {name: kept.latest(kept.read(name, settings.results)) for name in _BENCHMARKS}
    tables = {"targets": _targets(newest), "peers": _peers(newest["peers"]), "step": _step(newest["step"]),
              "allreduce": _allreduce(newest["allreduce"])}
    pictures = {name: _picture(name, newest[name]) for name in ("peers", "allreduce") if newest[name]}
    for name, picture in pictures.items():
        (settings.results / f"{name}.png").write_bytes(picture)
    about = "\n".join(f"- {name}: {_about(found[0])}" for name, found in newest.items() if found)
    markdown = "\n\n".join(f"## {name}\n\n{_markdown(table)}" for name, table in tables.items() if len(table) > 1)
    (settings.results / "report.md").write_text(f"# Measured\n\n{about}\n\n{markdown}\n", encoding="utf-8")
    (settings.results / "report.html").write_text(_page(about, tables, pictures), encoding="utf-8")
    print(_markdown(tables["targets"]))


def _about(row: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    return f"{row['run']}, commit {row['commit']}, {row['cores']} cores of {row['cpu']}; {versions}"


def _targets(newest: Rows) -> list[list[str]]:
    table = [["target", "reached", "bound", ""]]
    for target in TARGETS:
        value = target.reached(newest)
        bound = f"{'at most' if target.at_most else 'at least'} {target.bound:g}"
        table.append([target.text, "" if value is None else f"{value:.2f}", bound, target.verdict(newest)])
    return table


def _peers(found: list[dict]) -> list[list[str]]:
    ordered = sorted(found, key=lambda row: -(row["median"] or 0))
    best = next((row["median"] for row in ordered if "hvd_ae" not in row["contestant"] and row["median"]), None)
    return [["contestant", "samples/s", "quartiles", "over the best peer", "rounds"]] + [
        [row["contestant"], _number(row["median"]) or row["not_measured"], f"{_number(row['low'])} to {_number(row['high'])}",
         f"{row['median'] / best:.2f}" if row["median"] and best else "", str(row["rounds"])] for row in ordered]


def _step(found: list[dict]) -> list[list[str]]:
    return [["averaging", "engine", "part", "ms", "quartiles"]] + [
        [row["averaging"], row["collectives"], row["part"], f"{row['median'] * 1e3:.3f}",
         f"{row['low'] * 1e3:.3f} to {row['high'] * 1e3:.3f}"] for row in found]


def _allreduce(found: list[dict]) -> list[list[str]]:
    return [["bytes", "contestant", "us", "algorithm GB/s", "bus GB/s", "wrong"]] + [
        [f"{row['bytes']:,}", row["contestant"], f"{row['median'] * 1e6:,.1f}", f"{row['algorithm_gb_s']:.2f}",
         "" if row["bus_gb_s"] is None else f"{row['bus_gb_s']:.2f}", "" if row["wrong"] is None else str(row["wrong"])]
        for row in found]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _markdown(table: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell or "" for cell in line) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _picture(name: str, found: list[dict]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    if name == "peers":
        ordered = sorted((row for row in found if row["median"]), key=lambda row: row["median"])
        errors = [[row["median"] - row["low"] for row in ordered], [row["high"] - row["median"] for row in ordered]]
        axes.barh([row["contestant"] for row in ordered], [row["median"] for row in ordered], xerr=errors,
                  color=["tab:blue" if "hvd_ae" in row["contestant"] else "tab:gray" for row in ordered])
        axes.set(xlabel="samples/s, median and quartiles", title="Same model, data, global batch 256, two cores")
    else:
        for contestant in dict.fromkeys(row["contestant"] for row in found):
            line = [row for row in found if row["contestant"] == contestant]
            axes.loglog([row["bytes"] for row in line], [row["median"] * 1e6 for row in line], "o-", label=contestant, ms=3)
        axes.set(xlabel="bytes", ylabel="microseconds, slowest rank", title=f"Sum over {found[0]['ranks']} ranks")
        axes.legend()
        axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _page(about: str, tables: dict[str, list[list[str]]], pictures: dict[str, bytes]) -> str:
    """One HTML file that needs no other."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>hvd_ae, measured</title>",
             "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{padding:.2em .8em;"
             "text-align:left;border-bottom:1px solid #ddd}table{border-collapse:collapse}img{max-width:100%}</style>",
             f"<h1>hvd_ae, measured</h1><pre style='white-space:pre-wrap'>{html.escape(about)}</pre>"]
    for name, table in tables.items():
        if len(table) > 1:
            parts.append(f"<h2>{name}</h2>")
            if name in pictures:
                parts.append(f"<img alt='{name}' src='data:image/png;base64,{base64.b64encode(pictures[name]).decode()}'>")
            head, *body = table
            parts.append("<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>" + "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell or '')}</td>" for cell in line) + "</tr>" for line in body)
                + "</table>")
    return "\n".join([*parts, "</html>\n"])
