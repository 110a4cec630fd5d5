"""A finished run beside what was predicted for it."""

import json
import tomllib
from pathlib import Path

from hvd_ae.averaging.cost import Job
from hvd_ae.commands.plan.advice import name_of
from hvd_ae.commands.plan.model import predict, predicted
from hvd_ae.errors import Refused

_NEEDED = ("averaging", "samples_per_second", "sync_every", "ranks", "parameters")


def finished(run: str) -> dict:
    """What a run's summary.json says.

    Raises:
        Refused: there is no finished run, it was too short, or its strategy is not predicted.
    """
    try:
        summary = json.loads((Path(run) / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Refused(f"run={run!r} holds no summary.json that can be read: give the folder of a run that has ended") from None
    missing = [name for name in _NEEDED if not isinstance(summary, dict) or name not in summary]
    if missing:
        raise Refused(f"run={run!r} has a summary.json that lacks {missing[0]}: give a run of this version, as it was written")
    if summary["averaging"] not in predicted():
        raise Refused(f"run={run!r} averaged by {summary['averaging']!r}, which is not predicted: known are "
                      f"{', '.join(predicted())}")
    if summary["samples_per_second"] is None:
        raise Refused(f"run={run!r} was too short to be timed: train at least two epochs")
    return summary


def achieved(job: Job, run: str, summary: dict) -> str:
    """A finished run's speed beside the prediction.

    Raises:
        Refused: it was another job than the one that was measured.
    """
    _check_same_job(job, run, summary)
    strategy, every, speed = summary["averaging"], summary["sync_every"], summary["samples_per_second"]
    expected = predict(job, strategy, every, summary["ranks"])
    return (f"{name_of(strategy, expected.every)} on {summary['ranks']} ranks: predicted {expected.samples_per_second:,.0f} "
            f"samples/s, achieved {speed:,.0f}: {100 * (speed / expected.samples_per_second - 1):+.1f} %")


def _check_same_job(job: Job, run: str, summary: dict) -> None:
    """Refuse to compare what was not predicted."""
    try:
        config = tomllib.loads((Path(run) / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"run={run!r} has no config.toml that can be read ({error}): give a run as it was written") from None
    for name, expected in (("compression", "none"), ("accumulate", 1), ("buckets", 1), ("precision", "float32"),
                            ("batch_size", job.batch)):
        if config.get(name, expected) != expected:
            raise Refused(f"run={run!r} had {name}={config[name]!r}, but the prediction is for {expected!r}: measure, or "
                          "train, with the same")
    if 4 * summary["parameters"] != job.size:
        raise Refused(f"run={run!r} has {summary['parameters']:,} parameters, but {job.size // 4:,} were measured: measure "
                      "the same model")
