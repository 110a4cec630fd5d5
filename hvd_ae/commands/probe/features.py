"""Features of samples, computed by all ranks together: codes, principal components, and what standardises them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.arrays import from_arrays
from hvd_ae.data.epoch_plan import plan_evaluation
from hvd_ae.data.source import LABELS, SAMPLES, Source

_SAMPLES_A_BLOCK = 1024


@dataclass(frozen=True)
class PrincipalComponents:
    """A linear code of the data: (x - mean) @ components."""

    mean: np.ndarray  # float64 (features,)
    components: np.ndarray  # float64 (features, width), the columns orthonormal, that of the largest variance first
    explained: float  # share of the data's variance

    def of(self, values: np.ndarray) -> np.ndarray:
        """(samples, *shape) to (samples, width)."""
        return (values.reshape(len(values), -1) - self.mean) @ self.components


def principal_components(source: Source, width: int, comm: Communicator) -> PrincipalComponents:
    """The first components of all samples of all ranks, exactly: from the sums over ranks of x and of x xᵀ.

    The matrix has features x features float64 numbers (784 features: 5 MB), on every rank.
    """
    mean = mean_over_samples(source, lambda x: x.sum(axis=0), comm)
    covariance = mean_over_samples(source, lambda x: (x - mean).T @ (x - mean), comm)
    variances, vectors = np.linalg.eigh(covariance)
    components = np.ascontiguousarray(vectors[:, ::-1][:, :width])
    # an eigenvector's sign may depend on the kind of processor: the root's are taken by all
    components = comm.broadcast(components.ravel()).numpy().reshape(components.shape)
    return PrincipalComponents(mean, components, float(variances[::-1][:width].sum() / variances.sum()))


def mean_and_variance(source: Source, comm: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """Of each feature over all samples, float64 (features,), the same bytes on every rank."""
    mean = mean_over_samples(source, lambda x: x.sum(axis=0), comm)
    return mean, mean_over_samples(source, lambda x: np.square(x - mean).sum(axis=0), comm)


def mean_over_samples(source: Source, sum_over_samples: Callable, comm: Communicator) -> np.ndarray:
    """A mean over all samples, each rank adding up its share in float64.

    Args:
        sum_over_samples: from (samples, features), float64, to a sum over the samples, of any shape.
    """
    share = plan_evaluation(source.count, comm.world)
    total = sum_over_samples(np.zeros((0, int(np.prod(source.fields[SAMPLES].shape)))))
    for values in _blocks(source, share):
        total = total + sum_over_samples(values.reshape(len(values), -1).astype(np.float64))
    return comm.sum(total.ravel()).numpy().reshape(total.shape) / source.count


def transformed(source: Source, function: Callable, width: int, name: str, comm: Communicator) -> Source:
    """The samples as features (count, width) with their labels, in memory on every rank, each having computed a share.

    Args:
        function: from (samples, *shape), float32, to (samples, width) or (samples, ...) of as many numbers.
    """
    share = plan_evaluation(source.count, comm.world)
    mine = [np.asarray(function(values), np.float32).ravel() for values in _blocks(source, share)]
    gathered = comm.all_gather(np.concatenate([np.zeros(0, np.float32), *mine])).numpy()
    labels = source.read_all(LABELS) if LABELS in source.fields else None
    return from_arrays(name, gathered.reshape(source.count, width), labels)


def _blocks(source: Source, share: np.ndarray) -> Iterator[np.ndarray]:
    """Samples as the model sees them, some at a time."""
    for first in range(0, len(share), _SAMPLES_A_BLOCK):
        yield source.seen(share[first : first + _SAMPLES_A_BLOCK])
