"""What predictions come to, in words and a table."""

from hvd_ae.averaging.cost import Job, Link
from hvd_ae.commands.plan.model import Prediction, predict
from hvd_ae.runs.markdown import markdown_table
from hvd_ae.settings.commands import PlanSettings

MOST = 10_000  # ranks


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


def name_of(strategy: str, every: int | None) -> str:
    return f"{strategy} H={every}" if every else strategy


def table(rows: list[Prediction]) -> str:
    """Efficiency by ranks (down) and strategy (across), in Markdown."""
    columns = list(dict.fromkeys((row.strategy, row.every) for row in rows))
    found = {(row.strategy, row.every, row.ranks): row for row in rows}
    lines = []
    for ranks in dict.fromkeys(row.ranks for row in rows):
        here = [found[(*column, ranks)] for column in columns]
        cells = [f"{100 * row.efficiency:.0f} %, {row.seconds_per_epoch:.3g} s" for row in here]
        lines.append([ranks, here[0].nodes, *cells])
    header = ["ranks", "nodes", *(name_of(*column) for column in columns)]
    return f"{markdown_table(header, lines)}\n\nefficiency, and seconds per epoch"


def advice(job: Job, curves: dict[tuple, list[Prediction]], wanted: float) -> list[str]:
    """Up to how many ranks each strategy stays efficient, and the smallest H that does where averaging every step does not."""
    sentences = []
    for (strategy, every), curve in curves.items():
        good = [row.ranks for row in curve if row.efficiency >= wanted]
        many = f"up to {max(good):,} ranks and more" if len(good) == len(curve) else f"up to {max(good, default=1):,} ranks"
        sentences.append(f"{name_of(strategy, every)}: {100 * wanted:.0f} % {many}")
    for ranks in (64, 1024, MOST):
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
