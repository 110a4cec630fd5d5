"""How well scores tell odd samples from others, exactly, over all ranks, ties included: as scikit-learn says it of one array.

Recall changes, and F1 is highest, at scores of odd samples alone. So those scores are gathered on every rank (4 bytes each,
and 24 more for each different one), every rank counts its other samples among them, and only counts are added up.
"""

import math
from dataclasses import dataclass

import numpy as np

from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.quartiles import FirstBits, quartiles
from hvd_ae.runtime.consensus import refused_on_all


@dataclass(frozen=True)
class Ranking:
    """Measures of all samples; those that are judged at a threshold call a sample odd whose score is above it.

    best_f1_threshold: the lowest score that is called odd where F1 is highest.
    """

    normal: int
    odd: int
    roc_auc: float
    average_precision: float
    best_f1: float
    best_f1_threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


def rank(scores: np.ndarray, is_odd: np.ndarray, threshold: float, comm: Communicator) -> Ranking:
    """Of this rank's samples and those of all others (every rank calls it).

    Args:
        scores: float32 (samples,), finite; higher is odder.
        is_odd: bool (samples,).

    Raises:
        Refused: on every rank, where all samples are of one kind.
    """
    above = scores.astype(np.float64) > threshold
    counts = comm.sum(np.array([np.sum(is_odd), np.sum(~is_odd), np.sum(above & is_odd), np.sum(above & ~is_odd)], np.int64))
    odd, normal, true_positives, false_positives = counts.numpy().tolist()
    if not odd or not normal:
        raise refused_on_all(f"labels say that {odd:,} samples are odd and {normal:,} are not: to judge scores by labels "
                             "there must be some of both; drop --labels")
    values, of_value = np.unique(comm.all_gather(scores[is_odd]).numpy(), return_counts=True)
    others = np.sort(scores[~is_odd])
    below, up_to = (np.searchsorted(others, values, side=side) for side in ("left", "right"))
    below, up_to = comm.sum(np.concatenate([below, up_to]).astype(np.int64)).numpy().reshape(2, -1)
    # Python's numbers: products of counts outgrow int64
    halves = sum(number * (low + high) for number, low, high in zip(of_value.tolist(), below.tolist(), up_to.tolist()))
    found = np.cumsum(of_value[::-1])[::-1]  # odd samples with this score or a higher one
    called = found + normal - below
    f1 = 2.0 * found / (called + odd)
    best = int(np.argmax(f1))
    return Ranking(normal, odd, halves / (2 * odd * normal), math.fsum(of_value * (found / called)) / odd, float(f1[best]),
                   float(values[best]), true_positives, false_positives, normal - false_positives, odd - true_positives)


def quantiles(scores: np.ndarray, shares: list[float], comm: Communicator) -> list[float]:
    """Exact quantiles of all ranks' scores, as `numpy.quantile` gives them in float64 (every rank calls it).

    Args:
        scores: float32 (samples,), finite.
        shares: within 0 to 1.
    """
    count, first = comm.sum(np.array([len(scores)], np.int64)).numpy(), FirstBits(1)
    first.add(scores[:, None])
    return quartiles(first, lambda function: function(scores[:, None]), count, comm, shares)[:, 0].tolist()
