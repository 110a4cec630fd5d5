"""One process by itself: every collective returns what it was given."""

import tensorflow as tf

from hvd_ae.collectives.async_sum import AsyncSum
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.runtime.world import World


class SingleCommunicator(Communicator):
    """The collectives of a world of one rank; needs no MPI."""

    name = "single"

    def __init__(self):
        super().__init__(World())

    def async_sum(self) -> AsyncSum:
        return AsyncSum(lambda vector: vector, 0.0)

    def barrier(self) -> None:
        pass

    def maximum_int(self, number: int) -> int:
        return number

    def _metered(self, collective, vector, rounds: float | None) -> tf.Tensor:
        return collective(tf.convert_to_tensor(vector))  # nothing moves, so there is nothing to count

    def _same(self, vector: tf.Tensor) -> tf.Tensor:
        return vector

    _sum = _minimum = _maximum = _reduce_scatter = _all_to_all = _adasum = _same

    def _all_gather(self, part: tf.Tensor, total: int | None = None) -> tf.Tensor:
        return part

    def _shift(self, vector: tf.Tensor, distance: tf.Tensor) -> tf.Tensor:
        return vector

    def split(self, groups: list[list[int]]) -> "SingleCommunicator":
        return self

    def _broadcast(self, vector: tf.Tensor, root: int) -> tf.Tensor:
        return vector
