"""The check that ranks are in sync: a checksum of every rank's vectors, compared by minimum and maximum."""

import hashlib
from collections import Counter

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.strategy import Strategy
from hvd_ae.errors import OutOfSync
from hvd_ae.models.state import Kind


def checksum(*vectors: tf.Tensor) -> int:
    """A number of 63 bits from the bytes of vectors (BLAKE2b): two ranks that agree on it hold the same bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for vector in vectors:
        digest.update(np.ascontiguousarray(vector.numpy()).reshape(-1).view(np.uint8).data)
    return int.from_bytes(digest.digest(), "big") >> 1


def check_in_sync(strategy: Strategy, step: int, synchronized: bool = True) -> bool | None:
    """Compare what this strategy promises to be the same on all ranks; every rank calls it.

    Args:
        synchronized: whether the ranks have just synchronized. Otherwise they are at the end of a period, where buffers and
            tables, which most strategies make the same only when they synchronize, may differ and are left out.

    Returns True, or None where the strategy promises nothing.

    Raises:
        OutOfSync: on every rank, naming the ranks that differ from most.
    """
    shared = strategy.replicated_state()
    if not synchronized:
        shared = {name: each.variable for name, each in strategy.state.items()
                  if not each.of_rank and each.kind not in (Kind.BUFFERS, Kind.TABLE)}
    if not shared:
        return None
    own = np.array([checksum(*shared.values())], np.int64)
    lowest, highest = strategy.comm.minimum(own), strategy.comm.maximum(own)
    if int(lowest[0]) == int(highest[0]):
        return True
    sums = strategy.comm.all_gather(own).numpy().tolist()
    most = Counter(sums).most_common(1)[0][0]
    odd = ", ".join(str(rank) for rank, value in enumerate(sums) if value != most)
    raise OutOfSync(
        f"at step {step} rank {odd} of {len(sums)} holds other parameters than most, though averaging should keep "
        "all the same: do not use this model; run `hvd-ae train --collectives mpi` to see whether Horovod is at fault"
    )
