"""Mean and covariance of what a model makes of reference samples: what is usual, for Mahalanobis distances."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.partition import dealt
from hvd_ae.inference.blocks import Blocks
from hvd_ae.runtime.consensus import run_on_all

_SAMPLES, _STRETCH = 1 << 14, 256  # that are taken at most, and that lie together
_RIDGE = 1e-2  # of the variance: what hardly varies among the reference samples must not decide everything


@dataclass(frozen=True)
class Gaussian:
    """mean: float64 (width,); precision: the inverse covariance, float64 (width, width)."""

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Gaussian":
        """Of vectors (samples, width); each number is brought to variance 1 first, so that none needs a unit."""
        values = vectors.astype(np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        spread = np.where(spread > 1e-6 * max(spread.max(initial=0.0), 1e-30), spread, max(spread.max(initial=0.0), 1e-30))
        standard = (values - mean) / spread
        covariance = standard.T @ standard / max(1, len(values) - 1)
        inverse = np.linalg.inv(covariance + _RIDGE * np.eye(len(mean)))
        return cls(mean, inverse / np.outer(spread, spread))

    def save(self, partial: Path) -> None:
        np.savez(partial, mean=self.mean, precision=self.precision)

    @classmethod
    def load(cls, path: Path) -> "Gaussian":
        with np.load(path, allow_pickle=False) as file:
            return cls(file["mean"], file["precision"])

    def on_all(self, comm: Communicator) -> "Gaussian":
        """The root's, on every rank (every rank calls it, with arrays of the same shapes)."""
        mean, precision = (comm.broadcast(array.ravel()).numpy().reshape(array.shape) for array in (self.mean, self.precision))
        return Gaussian(mean, precision)


def measure_gaussian(blocks: Blocks, comm: Communicator) -> Gaussian:
    """Of the `vectors` of reference samples, at most 16,384 of them, in stretches that lie evenly among all of them.

    Every rank calls it, and for a moment holds the vectors of those samples: 4 bytes a number.

    Raises:
        Refused: on every rank, where samples cannot be read.
    """
    indices = spread(blocks.source.count)
    bundles = [indices[first : first + blocks.size] for first in range(0, len(indices), blocks.size)]
    owners = dealt(np.array([len(bundle) for bundle in bundles]), comm.world.size)
    width = blocks.shapes["vectors"][0]

    def mine() -> np.ndarray:
        return np.concatenate([np.zeros((0, width), np.float32), *(
            blocks.of_samples(bundle)["vectors"] for bundle, owner in zip(bundles, owners) if owner == comm.world.rank)])

    vectors = comm.all_gather(run_on_all(comm, mine).ravel(), len(indices) * width).numpy().reshape(-1, width)
    found = Gaussian(np.zeros(width), np.zeros((width, width)))
    if comm.world.is_root:  # libraries of linear algebra may round differently from node to node
        with threadpool_limits(1):  # and with each number of threads
            found = Gaussian.of(vectors)
    return found.on_all(comm)


def spread(count: int) -> np.ndarray:
    """The numbers of the samples that are taken of so many."""
    if count <= _SAMPLES:
        return np.arange(count)
    stretches = _SAMPLES // _STRETCH
    firsts = np.arange(stretches, dtype=np.int64) * (count - _STRETCH) // (stretches - 1)
    return (firsts[:, None] + np.arange(_STRETCH)).ravel()
