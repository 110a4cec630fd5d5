"""Tables of rows: each is a heading line and lines of text, from the newest run of a benchmark."""

from collections.abc import Callable, Iterable

from benchmarks.allreduce import DEEP
from benchmarks.floor import floor_of_step
from benchmarks.ratios import median, over
from benchmarks.targets import Verdict, best_peer, one_rank

Table = list[list[str]]


def number(value: float | None, form: str = ",.0f", factor: float = 1.0) -> str:
    """Text; empty where nothing was measured."""
    return "" if value is None else format(value * factor, form)


def spread(row: dict, form: str = ",.0f", factor: float = 1.0) -> str:
    """Quartiles, or why there are none."""
    if row["median"] is None:
        return row.get("reason") or "not measured"
    if len(row["values"]) == 1:
        return "one turn"
    return f"{number(row['low'], form, factor)} to {number(row['high'], form, factor)}"


def targets(verdicts: Iterable[Verdict]) -> Table:
    def line(verdict: Verdict) -> list[str]:
        target, run = verdict.target, verdict.run
        bound = f"{'at most' if target.at_most else 'at least'} {target.bound:g}"
        measured = "" if run is None else run["run"][:16].replace("T", " ") + ", short" * run["settings"].get("short", False)
        reached = ", ".join(number(value, ".3g") for value in verdict.values)
        left_out = "; ".join(f"{value:.3g}: {why}" for value, why in verdict.left_out)
        return [str(target.number), target.text, reached, bound, verdict.verdict, measured, left_out]

    return [["", "target", "reached, the newest run first", "bound", "", "newest run", "left out"], *map(line, verdicts)]


def peers(rows: list[dict]) -> Table:
    rate_of_best = best_peer(rows)
    return [["contestant", "samples/s", "quartiles", "over the best peer", "settings"]] + [
        [row["contestant"], number(row["median"]), spread(row), number(over(row["median"], rate_of_best), ".2f"),
         row["variant"] or "as they are"] for row in sorted(rows, key=lambda row: -(row["median"] or 0))]


def step(rows: list[dict]) -> Table:
    table = [["part of a step", "engine", "ms", "quartiles", "samples/s"]]
    for row in rows:
        rate = row["ranks"] * row["batch_size"] / row["median"] if row["median"] and _is_training(row) else None
        table.append([row["part"] or "", row["engine"], number(row["median"], ".3f", 1e3), spread(row, ".3f", 1e3),
                      number(rate)])
    for engine in dict.fromkeys(row["engine"] for row in rows):
        floor = floor_of_step([row for row in rows if row["engine"] == engine])
        table += [[f"floor: {name}", engine, number(seconds, ".3f", 1e3), "", ""] for name, seconds in floor.items()]
        whole = median(rows, engine=engine, part="training, gradient")
        parts = [median(rows, engine=engine, part=part) for part in ("forward and backward", "all-reduce", "update")]
        if whole is not None and None not in parts:
            table.append(["the rest of a step of `gradient`", engine, number(whole - sum(parts), ".3f", 1e3), "", ""])
    return table


def _is_training(row: dict) -> bool:
    return bool(row["part"]) and row["part"].startswith(("training", "forward"))


def allreduce(rows: list[dict]) -> Table:
    return [["bytes", "contestant", "us", "quartiles", "algorithm GB/s", "bus GB/s", "wrong"]] + [
        [number(row["bytes"]) + " (`deep`)" * (row["bytes"] == DEEP), row["contestant"], number(row["median"], ",.1f", 1e6),
         spread(row, ",.1f", 1e6), number(row["algorithm_gb_s"], ".3g"), number(row["bus_gb_s"], ".3g"), number(row["wrong"])]
        for row in rows if row["contestant"]]


def scaling(rows: list[dict]) -> Table:
    table = [["", "strategy", "ranks x batch", "cores", "threads a rank", "samples/s", "quartiles", "efficiency",
              "communicating", "MB sent a step", "peak MB a rank"]]
    for row in rows:
        one = one_rank(rows, row["kind"])
        # one rank of a strong point may use every core, but has one thread: the same unit of work
        efficiency = over(row["median"], one * row["ranks"] * row["threads"] if one else None)
        table.append([row["kind"], row["strategy"], f"{row['ranks']} x {row['batch_size']}", str(row["cores"]),
                      str(row["threads"]), number(row["median"]), spread(row), number(efficiency, ".0%"),
                      number(row["communication_share"], ".1%"),
                      number(row["bytes_sent_per_step"], ".2f", 1e-6), number(row["peak_bytes"], ",.0f", 1e-6)])
    return table


def network(rows: list[dict]) -> Table:
    table = [["link", "strategy", "samples/s", "quartiles", "of unlimited", "communicating", "MB sent a step", "val_mse"]]
    for row in rows:
        unlimited = median(rows, link="unlimited", strategy=row["strategy"])
        if row["strategy"] == "MPI_Allreduce":
            bits = row["bits_per_second"]
            share = over(8 * DEEP, bits * row["median"]) if bits and row["median"] else None
            said = f"{number(row['median'], ',.1f', 1e3)} ms" + (f", {share:.0%} of the link" if share else "")
            table.append([row["link"], "bare `MPI_Allreduce`, 4.6 MB", said, spread(row, ",.1f", 1e3), "", "", "", ""])
            continue
        table.append([row["link"] or "", row["strategy"], number(row["median"]), spread(row) if row["link"] else "",
                      number(over(row["median"], unlimited), ".0%"), number(row["communication_share"], ".0%"),
                      number(row["bytes_sent_per_step"], ".2f", 1e-6), number(row["val_mse"], ".5f")])
    return table


def startup(rows: list[dict]) -> Table:
    return [["from the command to", "seconds", "quartiles"]] + [
        [row["what"], number(row["median"], ".2f"), spread(row, ".2f")] for row in rows]


def memory(rows: list[dict]) -> Table:
    table = [["data", "ranks", "MB of data", "peak MB a rank", "over little data", "anonymous MB", "file MB", "samples/s",
              "quartiles"]]
    for row in rows:
        little = next((other["peak"] for other in rows if other["how"] == "little" and other["ranks"] == row["ranks"]), None)
        beyond = row["peak"] - little if row["peak"] and little else None
        sizes = (row["data_bytes"], row["peak"], beyond, row["anonymous"], row["file"])
        table.append([row["how"], str(row["ranks"]), *(number(size, ",.0f", 1e-6) for size in sizes), number(row["median"]),
                      spread(row)])
    return table


def input_(rows: list[dict]) -> Table:
    return [["what", "samples/s", "quartiles", "decoded, over the data", "`val_mse`", "peak MB"]] + [
        [row["what"], number(row["median"]), "" if row["how"] in ("by class", "memory") else spread(row),
         number(row["decoded"], ".3f"), number(row["val_mse"], ".5f"), number(row["peak"], ",.0f", 1e-6)] for row in rows]


def p1b1(rows: list[dict]) -> Table:
    return [["strategy", "engine", "ranks", "MB of the vector", "peak MB a rank", "less a small model's", "in vectors",
             "seconds a step"]] + [
        [row["strategy"], row["engine"], str(row["ranks"]), number(row["vector_bytes"], ",.0f", 1e-6),
         number(row["peak"], ",.0f", 1e-6), number(row["peak"] and row["peak"] - row["little"], ",.0f", 1e-6),
         number(row["vectors"], ".2f") or row["reason"], number(row["seconds_per_step"], ".2f")] for row in rows]


def plan(rows: list[dict]) -> Table:
    def error(row: dict, name: str) -> str:
        return number(over(row.get(name), row["median"]) and over(row[name], row["median"]) - 1, "+.0%")

    return [["place", "strategy", "achieved, samples/s", "quartiles", "predicted from measurements there", "",
             "predicted from the first place and the link's speed", ""]] + [
        [row["place"], row["strategy"], number(row["median"]), spread(row), number(row.get("predicted")),
         error(row, "predicted"), number(row.get("from_elsewhere")), error(row, "from_elsewhere")] for row in rows]


TABLES: dict[str, Callable[[list[dict]], Table]] = {
    "peers": peers, "step": step, "allreduce": allreduce, "scaling": scaling, "network": network, "startup": startup,
    "memory": memory, "input": input_, "p1b1": p1b1, "plan": plan,
}


def markdown(table: Table) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])
