"""Features of samples, computed by all ranks together: codes, principal components, and what standardises them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.batches import plan_evaluation
from hvd_ae.data.samples import Samples
from hvd_ae.runs.outcome import scaled

_ROWS_A_BLOCK = 1024


@dataclass(frozen=True)
class PrincipalComponents:
    """A linear code of the data: (x - mean) @ components."""

    mean: np.ndarray  # float64 (features,)
    components: np.ndarray  # float64 (features, width), the columns orthonormal, that of the largest variance first
    explained: float  # share of the data's variance

    def of(self, values: np.ndarray) -> np.ndarray:
        """(rows, *sample_shape) to (rows, width)."""
        return (values.reshape(len(values), -1) - self.mean) @ self.components


def principal_components(samples: Samples, width: int, comm: Communicator) -> PrincipalComponents:
    """The first components of all samples of all ranks, exactly: from the sums over ranks of x and of x xᵀ.

    The matrix has features x features float64 numbers (784 features: 5 MB), on every rank.
    """
    mean = mean_over_samples(samples, lambda x: x.sum(axis=0), comm)
    covariance = mean_over_samples(samples, lambda x: (x - mean).T @ (x - mean), comm)
    variances, vectors = np.linalg.eigh(covariance)
    components = np.ascontiguousarray(vectors[:, ::-1][:, :width])
    # an eigenvector's sign may depend on the kind of processor: the root's are taken by all
    components = comm.broadcast(components.ravel()).numpy().reshape(components.shape)
    return PrincipalComponents(mean, components, float(variances[::-1][:width].sum() / variances.sum()))


def mean_and_variance(samples: Samples, comm: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """Of each feature over all samples, float64 (features,), the same bytes on every rank."""
    mean = mean_over_samples(samples, lambda x: x.sum(axis=0), comm)
    return mean, mean_over_samples(samples, lambda x: np.square(x - mean).sum(axis=0), comm)


def mean_over_samples(samples: Samples, sum_over_rows: Callable, comm: Communicator) -> np.ndarray:
    """A mean over all samples, each rank adding up its share in float64.

    Args:
        sum_over_rows: from (rows, features), float64, to a sum over the rows, of any shape.
    """
    share = plan_evaluation(samples.count, comm.world)
    total = sum_over_rows(np.zeros((0, int(np.prod(samples.sample_shape)))))
    for values in _blocks(samples, share):
        total = total + sum_over_rows(values.reshape(len(values), -1).astype(np.float64))
    return comm.sum(total.ravel()).numpy().reshape(total.shape) / samples.count


def transformed(samples: Samples, function: Callable, width: int, name: str, comm: Communicator) -> Samples:
    """The samples as features (count, width) with their labels, in memory on every rank, each having computed a share.

    Args:
        function: from (rows, *sample_shape), float32, to (rows, width) or (rows, ...) of as many numbers.
    """
    share = plan_evaluation(samples.count, comm.world)
    mine = [np.asarray(function(values), np.float32).ravel() for values in _blocks(samples, share)]
    gathered = comm.all_gather(np.concatenate([np.zeros(0, np.float32), *mine])).numpy()
    return Samples(gathered.reshape(samples.count, width), samples.labels, name)


def _blocks(samples: Samples, share: np.ndarray) -> Iterator[np.ndarray]:
    """Rows as the model sees them, some at a time."""
    for first in range(0, len(share), _ROWS_A_BLOCK):
        yield scaled(samples, share[first : first + _ROWS_A_BLOCK])
