"""What a step of the model `deep` would take if nothing but arithmetic and memory cost time, at the rates measured here."""

from benchmarks.peers.common import WIDTHS
from benchmarks.ratios import median

_BYTES = 4  # of a float32
# Adam reads parameters, gradient and two slots, and writes all but the gradient
_PASSES_OF_UPDATE = 7


def flops_of_step(batch_size: int) -> int:
    """Additions and multiplications of one rank's forward and backward pass, matrix products only.

    Each layer has a product forward, one for its weights' gradient, and one for its inputs' gradient, which the first layer
    does not need; a product of (b, m) by (m, n) has 2 b m n.
    """
    sizes = [inputs * outputs for inputs, outputs in zip(WIDTHS[:-1], WIDTHS[1:])]
    return 2 * batch_size * (3 * sum(sizes) - sizes[0])


def floor_of_step(rows: list[dict]) -> dict[str, float | None]:
    """Seconds of each part at the best rates of one job; None where a rate was not measured.

    Args:
        rows: of `benchmarks step`, of one engine.
    """
    product, copy = median(rows, part="matrix product"), median(rows, part="memory copy")
    reduce = median(rows, part="MPI_Allreduce")
    if product is None or copy is None or reduce is None:
        return {}
    row = next(row for row in rows if row["part"] == "matrix product")
    rate = 2 * row["matrix"] ** 3 / product
    bytes_per_second = 2 * row["copied_bytes"] / copy  # a copy reads and writes
    parts = {
        "matrix products": flops_of_step(row["batch_size"]) / rate,
        "memory of the update": _PASSES_OF_UPDATE * _BYTES * row["parameters"] / bytes_per_second,
        "bare MPI_Allreduce": reduce,
    }
    return {**parts, "all three": sum(parts.values())}
