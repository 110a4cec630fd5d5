"""A picture of each benchmark's newest run, from rows alone."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.targets import best_peer, is_ours


def peers(axes: Axes, rows: list[dict]) -> None:
    measured = sorted((row for row in rows if row["median"] is not None), key=lambda row: row["median"])
    names = [row["contestant"] for row in measured]
    axes.barh(names, [row["median"] for row in measured], xerr=_errors(measured), capsize=3,
              color=["tab:blue" if is_ours(name) else "tab:gray" for name in names])
    if best_peer(rows):
        axes.axvline(best_peer(rows) * 1.25, color="tab:red", linewidth=1, label="1.25 times the best peer")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="samples/s over all ranks, data input included", title="Model deep, global batch 256, the same two cores")


def step(axes: Axes, rows: list[dict]) -> None:
    rates = ("matrix product", "memory copy")
    parts = list(dict.fromkeys(row["part"] for row in rows if row["part"] and row["part"] not in rates))
    for number, engine in enumerate(dict.fromkeys(row["engine"] for row in rows)):
        own = [row for row in rows if row["engine"] == engine and row["median"] is not None and row["part"] in parts]
        places = [parts.index(row["part"]) + 0.4 * number for row in own]
        axes.barh(places, [row["median"] * 1e3 for row in own], height=0.38, xerr=_errors(own, 1e3), label=engine, capsize=2)
    axes.set_yticks([place + 0.2 for place in range(len(parts))], parts)
    axes.invert_yaxis()
    _legend_beside(axes, title="engine")
    axes.set(xlabel="milliseconds a step, slowest rank", title="A step, and its parts alone, on all ranks at once")


def allreduce(axes: Axes, rows: list[dict]) -> None:
    for contestant in dict.fromkeys(row["contestant"] for row in rows if row["contestant"]):
        own = [row for row in rows if row["contestant"] == contestant]
        sizes = [row["bytes"] for row in own]
        axes.plot(sizes, [row["median"] * 1e6 for row in own], "o-", markersize=3, label=contestant)
        axes.fill_between(sizes, [row["low"] * 1e6 for row in own], [row["high"] * 1e6 for row in own], alpha=0.2)
    _legend_beside(axes)
    axes.grid(alpha=0.3, which="major")
    axes.set(xscale="log", yscale="log", xlabel="bytes of the vector", ylabel="microseconds, slowest rank",
             title=f"Sum over {rows[0]['ranks']} ranks")


def scaling(axes: Axes, rows: list[dict]) -> None:
    weak = [row for row in rows if row["kind"] == "weak" and row["median"] is not None]
    for strategy in dict.fromkeys(row["strategy"] for row in weak):
        own = sorted((row for row in weak if row["strategy"] == strategy), key=lambda row: row["ranks"])
        axes.errorbar([row["ranks"] for row in own], [row["median"] for row in own], _errors(own), marker="o", capsize=3,
                      label=strategy)
    ones = [row["median"] for row in weak if row["ranks"] == 1]
    ranks = sorted({row["ranks"] for row in weak})
    if ones and ranks:
        axes.plot(ranks, [max(ones) * each for each in ranks], "k--", linewidth=0.8, label="as many times one rank")
    axes.set_xticks(ranks)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _legend_beside(axes)
    axes.grid(alpha=0.3)
    cores = rows[0]["cores"] if not ones else max(row["cores"] for row in weak)
    axes.set(xlabel=f"ranks, one thread each, on {cores} cores", ylabel="samples/s over all ranks", title="Weak scaling")


def network(axes: Axes, rows: list[dict]) -> None:
    links = list(dict.fromkeys(row["link"] for row in rows if row["link"]))
    measured = [row for row in rows if row["link"] and row["median"] is not None and row["strategy"] != "MPI_Allreduce"]
    strategies = list(dict.fromkeys(row["strategy"] for row in measured))
    width = 0.8 / max(1, len(strategies))
    for number, strategy in enumerate(strategies):
        own = [row for row in measured if row["strategy"] == strategy]
        axes.bar([links.index(row["link"]) + number * width for row in own], [row["median"] for row in own], width,
                 yerr=_errors(own), capsize=2, label=strategy)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(links))], links)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _legend_beside(axes)
    axes.set(ylabel="samples/s over both ranks", title="Two hosts joined by a link of this speed")


def startup(axes: Axes, rows: list[dict]) -> None:
    measured = [row for row in rows if row["median"] is not None]
    axes.barh([row["what"] for row in measured], [row["median"] for row in measured], xerr=_errors(measured), capsize=3)
    axes.invert_yaxis()
    axes.set(xlabel="seconds", title="From the command")


def memory(axes: Axes, rows: list[dict]) -> None:
    measured = [row for row in rows if row["peak"]]
    names = [f"{row['how']}, {row['ranks']} rank{'s' * (row['ranks'] > 1)}" for row in measured]
    axes.barh(names, [row["peak"] / 1e9 for row in measured], color="tab:gray", label="peak resident size")
    axes.barh(names, [row["anonymous"] / 1e9 for row in measured], height=0.4, label="of it allocated (anonymous)")
    axes.invert_yaxis()
    _legend_beside(axes)
    size = max((row["data_bytes"] for row in rows), default=0)
    axes.set(xlabel="GB, the rank that has most", title=f"Memory with {size / 1e9:.1f} GB of data")


_READ = {"in order": ("|", "decoded in order, nothing kept"), "windows": ("o", "shuffled in windows of a tenth"),
         "cold": ("x", "the same, from the disk"), "held": ("s", "shuffled as a whole, held in memory"),
         "training": ("D", "training deep, later epochs"), "first epoch": ("d", "training, first epoch"),
         "shuffles": ("<", "a peer that shuffles chunks"), "random": (">", "a peer that takes random samples")}


def input_(axes: Axes, rows: list[dict]) -> None:
    """A line for each format on so many ranks, or peer, and on it a point for each way of reading."""
    measured = [row for row in rows if row["median"] is not None and row["how"] in _READ]
    lines = list(dict.fromkeys(_line_of(row) for row in measured))
    for number, (how, (marker, label)) in enumerate(_READ.items()):
        own = [row for row in measured if row["how"] == how]
        if own:
            axes.errorbar([row["median"] for row in own], [lines.index(_line_of(row)) for row in own], xerr=_errors(own),
                          fmt=marker, capsize=2, linestyle="none", color=f"C{number}", label=label)
    axes.set_yticks(range(len(lines)), lines, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.figure.set_figheight(max(4.8, 1.5 + 0.2 * len(lines)))
    axes.figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    axes.set(xlabel="samples/s over all ranks, 784 float32 each", title="Reading, and training from what is read")


def _line_of(row: dict) -> str:
    if row["format"] is None:
        return row["what"]
    training = "training from " * (row["how"] in ("training", "first epoch"))
    return f"{training}{row['format']}, {row['ranks']} rank{'s' * (row['ranks'] > 1)}"


def p1b1(axes: Axes, rows: list[dict]) -> None:
    measured = [row for row in rows if row["vectors"]]
    axes.barh([f"{row['strategy']}, {row['engine']}" for row in measured], [row["vectors"] for row in measured])
    axes.invert_yaxis()
    axes.set(xlabel="peak resident size beyond a small model's, in vectors", title="P1B1, 244 M parameters, Adam")


def plan(axes: Axes, rows: list[dict]) -> None:
    kinds = {"predicted": ("o", "from measurements there"), "from_elsewhere": ("x", "from the first place and the link")}
    places = list(dict.fromkeys(row["place"] for row in rows))
    rates = [row["median"] for row in rows if row["median"] is not None]
    for kind, (marker, label) in kinds.items():
        own = [row for row in rows if row["median"] is not None and row.get(kind) is not None]
        axes.scatter([row["median"] for row in own], [row[kind] for row in own], marker=marker, label=label,
                     c=[f"C{places.index(row['place'])}" for row in own])
    if rates:
        axes.plot([min(rates), max(rates)], [min(rates), max(rates)], "k--", linewidth=0.8, label="as predicted")
    for number, place in enumerate(places):
        axes.scatter([], [], marker="s", c=f"C{number}", label=place)
    _legend_beside(axes)
    axes.grid(alpha=0.3)
    axes.set(xscale="log", yscale="log", xlabel="achieved, samples/s over all ranks", ylabel="predicted, samples/s",
             title="hvd-ae plan beside training: a point for each strategy")


PLOTS: dict[str, Callable[[Axes, list[dict]], None]] = {
    "peers": peers, "step": step, "allreduce": allreduce, "scaling": scaling, "network": network, "startup": startup,
    "memory": memory, "input": input_, "p1b1": p1b1, "plan": plan,
}


def draw(name: str, rows: list[dict]) -> Figure:
    figure = Figure(figsize=(8.5, 4.8), dpi=110, layout="constrained")
    PLOTS[name](figure.add_subplot(), rows)
    return figure


def _legend_beside(axes: Axes, title: str | None = None) -> None:
    """Where it hides nothing."""
    axes.legend(title=title, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _errors(rows: list[dict], factor: float = 1.0) -> list[list[float]]:
    """From the median down to the lower quartile, and up to the upper one."""
    return [[(row["median"] - row["low"]) * factor for row in rows], [(row["high"] - row["median"]) * factor for row in rows]]
