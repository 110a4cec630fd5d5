"""What the page of one run shows, from what is known of it."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from markupsafe import Markup

from hvd_ae.runs.page.charts import Series, line_chart
from hvd_ae.runs.page.drawings import matrix, scatter, stacked_bars
from hvd_ae.runs.page.pictures import of_file, pairs
from hvd_ae.runs.page.read import Run
from hvd_ae.runs.page.ticks import as_bytes, as_number
from hvd_ae.runs.progress import as_time

_PROBES = {"codes": "linear classifier on codes", "fine_tuned": "fine-tuned encoder", "pixels": "linear classifier on values",
           "pca": "linear classifier on principal components"}
_EPOCHS = 100
_LOSSES = ("train_loss", "val_loss")


def loss_unit(config: dict) -> str:
    """Of the loss that is trained on."""
    if config.get("task") in ("variational", "classification"):
        return "minus ELBO, nats" if config["task"] == "variational" else "cross-entropy, nats"
    loss = {"mse": "mean square error", "mae": "mean absolute error", "bce": "cross-entropy"}.get(config.get("loss"),
                                                                                                config.get("loss", "loss"))
    return f"{loss} (normalized)" if config.get("normalize", "none") != "none" else f"{loss} (data units)"


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """The numbers that come first: name, value, and a word more."""
    records, last = run.records, run.last
    shown = []
    for name, title in (("val_mse", "validation MSE"), ("val_loss", "validation loss")):
        known = [record for record in records if record.get(name) is not None]
        if known:
            best = min(known, key=lambda record: record[name])
            at_end = as_number(known[-1][name])
            note = "the best so far" if best is known[-1] else f"best {as_number(best[name])}, epoch {best['epoch']}"
            shown.append((title, at_end, note))
            break
    if records:
        seconds = sum(record.get("seconds") or 0 for record in records)
        shown.append(("trained", f"{last['epoch']:,} of {run.config.get('epochs', 0):,} epochs",
                      f"{last['step']:,} steps, {as_time(seconds)}"))
        rates = [record["samples_per_second"] for record in records if record.get("samples_per_second")]
        ranks = run.about.get("ranks") or (run.summary or {}).get("ranks")
        if rates:
            shown.append(("speed", f"{as_number(float(np.median(rates)))} samples/s",
                          f"median of epochs, {ranks} rank{'s' * (ranks != 1)} together" if ranks else "median of epochs"))
        shown.append(sync_tile(run))
    return shown


def sync_tile(run: Run) -> tuple[str, str, str]:
    checked = [record["in_sync"] for record in run.records if record.get("in_sync") is not None]
    every = run.config.get("check_every")
    when = f"after each epoch, and every {every} steps" if every else "after each epoch"
    if not checked:
        return "in sync", "not checked", "this averaging keeps ranks apart"
    return "in sync", "yes" if all(checked) else "no", f"{len(checked)} epochs checked; {when}"


def curves(run: Run) -> list[Markup]:
    """Losses over epochs and over seconds, then the task's other metrics."""
    records, unit = run.records, loss_unit(run.config)
    epochs = [record["epoch"] for record in records]
    seconds = list(accumulate(record.get("seconds") or 0 for record in records))

    def of(name: str) -> list:
        return [record.get(name) for record in records]

    names = {"train_loss": "training, mean over the epoch", "val_loss": "validation, after the epoch"}
    charts = [line_chart(f"Loss over {what}", [Series(names[name], xs, of(name), colour) for colour, name in
                                              enumerate(_LOSSES)], label, unit, is_log=True, whole=label == "epoch")
              for what, xs, label in (("epochs", epochs, "epoch"), ("time", seconds, "seconds of training"))]
    others = sorted({name for record in records for name in record if name.startswith("val_")} - {"val_loss"})
    same = run.config.get("normalize", "none") == "none" and run.config.get("loss") == "mse"
    for name in others[:6]:
        if not (name == "val_mse" and same and of("val_mse") == of("val_loss")):
            label = "mean square error (data units)" if name == "val_mse" else name
            charts.append(line_chart(f"{name} over epochs", [Series(name, epochs, of(name), 1)], "epoch", label, is_log=True,
                                     whole=True))
    return [chart for chart in charts if chart]


def speed(run: Run) -> list[Markup]:
    """Throughput, where each rank's time went, drift, the learning rate and memory, over epochs."""
    records = run.records
    epochs = [record["epoch"] for record in records]

    def over_epochs(title: str, name: str, label: str, factor: float = 1.0, colour: int = 0, **given) -> Markup:
        values = [None if record.get(name) is None else factor * record[name] for record in records]
        return line_chart(title, [Series(name, epochs, values, colour)], "epoch", label, whole=True, **given)

    memory = [max(ranks["memory"]) * 1e-6 if (ranks := record.get("of_ranks") or {}).get("memory") else None
              for record in records]
    gpu = [max(ranks["gpu_memory"]) * 1e-6 if (ranks := record.get("of_ranks") or {}).get("gpu_memory") else None
           for record in records]
    charts = [
        over_epochs("Throughput of all ranks", "samples_per_second", "samples/s", from_zero=True),
        time_by_rank(records),
        over_epochs("Learning rate", "learning_rate", "learning rate", colour=2, from_zero=True),
        line_chart("Most memory that a rank has held", [Series("process", epochs, memory, 3), Series("GPU", epochs, gpu, 4)],
                   "epoch", "MB", from_zero=True, whole=True),
        over_epochs("Drift: how far ranks were apart before averaging", "drift", "RMS distance of parameters", colour=5,
                    is_log=True),
    ]
    return [chart for chart in charts if chart]


def split_by_rank(records: Sequence[dict]) -> tuple[list[int], list[tuple[str, list[float]]], int] | None:
    """Ranks; of each the seconds in which it computed, waited for samples, communicated and waited for other ranks; and of
    how many epochs that is.

    Of the last hundred epochs, but not of the first, in which graphs are traced, where there are more. The rank that
    spends least time in collectives waits for nobody there, so what others spend more is waiting.
    """
    records = [record for record in records if (record.get("of_ranks") or {}).get("rank")]
    records = records[1:][-_EPOCHS:] or records
    if not records or any(record["of_ranks"]["rank"] != records[-1]["of_ranks"]["rank"] for record in records):
        records = records[-1:]  # other ranks were chosen: the last epoch alone
    if not records:
        return None

    def total(name: str) -> np.ndarray:
        return np.sum([record["of_ranks"][name] for record in records], axis=0)

    seconds, input_seconds, communication = total("seconds"), total("input_seconds"), total("communication_seconds")
    moving = sum(min(record["of_ranks"]["communication_seconds"]) for record in records)
    computing = np.maximum(seconds - input_seconds - communication, 0.0)
    waiting = np.maximum(communication - moving, 0.0)
    return records[-1]["of_ranks"]["rank"], [
        ("computing", computing.tolist()), ("waiting for samples", input_seconds.tolist()),
        ("communicating", [moving] * len(seconds)), ("waiting for other ranks", waiting.tolist())], len(records)


def time_by_rank(records: Sequence[dict]) -> Markup:
    split = split_by_rank(records)
    if split is None:
        return Markup("")
    ranks, parts, count = split
    epochs = f"the last {count} epochs" if count > 1 else "the last epoch"
    return stacked_bars(f"Where each rank's time went in {epochs}", [f"rank {rank}" for rank in ranks], parts,
                        "seconds of training")


def codes(run: Run) -> Markup:
    samples = run.samples
    if "points" not in samples or len(samples["points"]) < 2:
        return Markup("")
    share = samples["share"]
    return scatter("Codes in their first two principal components", samples["points"],
                   f"first component ({share[0]:.0%} of the variance)", f"second component ({share[1]:.0%})",
                   samples.get("labels"), samples.get("label_names", ()))


def scored(run: Run) -> tuple[list[tuple[str, str]], list[tuple], str]:
    """What `hvd-ae score` has left: its numbers, the worst samples with what made them so, and its histogram's address."""
    score = run.score
    numbers = {**score, **(score.get("labels") if isinstance(score.get("labels"), dict) else {})}
    rows = [(name.replace("_", " "), as_number(value, 4) if isinstance(value, float) else str(value))
            for name, value in numbers.items() if isinstance(value, (int, float, str)) and not isinstance(value, bool)]
    worst = [(each.get("sample"), as_number(each.get("score"), 4), ", ".join(
        f"{feature.get('feature')} ({feature.get('share', 0):.0%})" for feature in each.get("features", ())[:3]))
        for each in score.get("worst") or () if isinstance(each, dict)]
    return rows, worst, of_file(run.path / "score.png") if rows else ""


def probed(run: Run) -> tuple[list[tuple[str, str]], list[Markup]]:
    """Accuracies of `hvd-ae probe`, and what the codes were confused with."""
    parts = {name: part for name, part in run.probe.items() if isinstance(part, dict) and "accuracy" in part}
    numbers = [(_PROBES.get(name, name), f"{part['accuracy']:.1%}") for name, part in parts.items()]
    drawn = [matrix(f"{_PROBES[name]}: samples of each class", parts[name]["confusion"], run.probe.get("classes", ()))
             for name in ("codes",) if parts.get(name, {}).get("confusion")]
    return numbers, drawn


def data_facts(run: Run) -> list[tuple[str, str]]:
    about, facts = run.about, []
    if about:
        shapes = ", ".join(f"{name} {tuple(shape)} {dtype}" for name, (shape, dtype) in about.get("fields", {}).items())
        facts = [("data", str(about.get("data"))), ("samples", f"{about.get('training_samples', 0):,} training, "
                                                               f"{about.get('validation_samples', 0):,} validation"),
                 ("of each sample", shapes), ("size", as_bytes(about.get("data_bytes"))),
                 ("order", str(about.get("shuffled", ""))), ("fingerprint", str(about.get("fingerprint", "")))]
    if "value" in run.samples and len(run.samples["value"]) == 4:
        mean, deviation, low, high = map(float, run.samples["value"])
        facts.append((f"values of the first {int(run.samples['looked_at']):,} validation samples",
                      f"mean {as_number(mean)}, standard deviation {as_number(deviation)}, from {as_number(low)} to "
                      f"{as_number(high)}"))
    return facts


def sample_parts(run: Run) -> tuple[list[dict], list[dict]]:
    return pairs(run.samples), pairs(run.samples, "worst_")
