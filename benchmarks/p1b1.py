"""Resident size of each rank with a published autoencoder of real size, as multiples of its vector of parameters.

The model is CANDLE's P1B1 (gene expression; https://github.com/ECP-CANDLE/Benchmarks): 60,483-2000-600-2000-60,483, dense,
244 million parameters, a vector of 978 MB.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import jobs, rows
from hvd_ae.settings.fields import setting

_FEATURES, _WIDTHS = 60_483, (2000, 600, 2000)
_MODEL, _LITTLE = f"{__name__}:build", "shallow"
_ROWS = 80


@dataclass(frozen=True)
class P1B1:
    """How much of it, and how."""

    ranks: int = setting(2, "Number of ranks.")
    engines: str = setting("horovod,mpi", "Collectives, with commas between them.")
    strategies: str = setting("gradient,sharded", "Strategies, with commas between them; Adam is the optimizer.")
    short: bool = setting(False, "Horovod only, one epoch of two steps.")
    results: Path = setting(rows.RESULTS, "Folder of the rows.")


def build(sample_shape: tuple[int, ...]):
    """The autoencoder for samples of this shape; one of P1B1's has 60,483 values."""
    import keras

    layers = [keras.layers.Dense(width, activation="relu") for width in _WIDTHS]
    return keras.Sequential([keras.Input(sample_shape), *layers, keras.layers.Dense(sample_shape[0], activation="sigmoid")])


def vector_bytes() -> int:
    """Of the parameters, float32."""
    widths = (_FEATURES, *_WIDTHS, _FEATURES)
    return 4 * sum((before + 1) * after for before, after in zip(widths, widths[1:]))


def main(settings: P1B1) -> int:
    """Train a few steps; the peak of the rank that has most, less that of a small model on the same data."""
    measured = []
    for engine in ("horovod",) if settings.short else settings.engines.split(","):
        little, _, why = _peak(settings, engine, "gradient", _LITTLE)
        for strategy in settings.strategies.split(","):
            peak, seconds, reason = _peak(settings, engine, strategy, _MODEL) if little else (None, None, why)
            vectors = (peak - little) / vector_bytes() if peak else None
            measured.append({"strategy": strategy, "engine": engine, "ranks": settings.ranks, "reason": reason,
                             "vector_bytes": vector_bytes(), "little": little,
                             "peak": peak, "vectors": vectors, "seconds_per_step": seconds})
            print(json.dumps(measured[-1]), flush=True)
    rows.append("p1b1", measured, asdict(settings), settings.results)
    return 0


def _peak(settings: P1B1, engine: str, strategy: str, model: str) -> tuple[int | None, float | None, str | None]:
    """Bytes and seconds a step, or None and why not."""
    ranks, epochs = settings.ranks, 1 if settings.short else 2
    try:
        if model == _MODEL:
            jobs.refuse_what_does_not_fit(ranks * (1e9 + 6.5 * vector_bytes()))
        trained = jobs.train(ranks, "--data", f"synthetic:{_ROWS}x{_FEATURES}", "--model", model, "--averaging", strategy,
                             "--collectives", engine, "--batch-size", 18, "--epochs", epochs, timeout=1200)
    except jobs.JobFailed as failure:
        return None, None, str(failure)
    steps = trained.summary["steps"] / trained.summary["samples"]
    return max(sizes["peak"] for sizes in trained.memory.values()), 1 / (trained.rate * steps), None
