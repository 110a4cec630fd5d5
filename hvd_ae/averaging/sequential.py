"""One rank trains at a time: the scheme of the research code this project grew out of, kept as a baseline."""

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.cost import Job, Parts, all_reduce_everywhere, widest_link
from hvd_ae.averaging.periodic import Periodic
from hvd_ae.models.learner import Batch
from hvd_ae.models.state import Kind


class Sequential(Periodic):
    """Ranks train in turn, and hand the running mean of their parameters on with the token.

    A round: from common parameters, rank 0 trains H steps on its own partition while the others wait, adds its
    parameters to the kept mean and passes the mean on; then rank 1 does, and so on. The mean that the last rank has
    completed is handed back to all. Ranks count alike. Optimizer state is each rank's own. A round that an evaluation or a
    checkpoint cuts short has fewer steps for every rank. On one rank it is training by itself.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER, Kind.COUNT})

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.steps_at_once = settings.sync_every
        self.kept = tf.Variable(tf.zeros_like(learner.vector), name="kept", trainable=False)
        self.point_to_point = comm.point_to_point() if comm.world.size > 1 else None

    def close(self) -> None:
        if self.point_to_point:
            self.comm.free_beside(self.point_to_point)

    def step_within_period(self, batch: Batch) -> tf.Tensor:
        if self.steps_since == 0:
            self._wait_for_my_turn()
        return self.learner.local_update(batch)

    def _wait_for_my_turn(self) -> None:
        rank = self.comm.world.rank
        if rank > 0:
            length = self.kept.shape[0]

            def receive() -> np.ndarray:
                token = np.empty(length, np.float32)
                self.point_to_point.receive(token, [rank - 1])
                return token

            self.kept.assign(tf.ensure_shape(tf.numpy_function(receive, [], tf.float32), [length]))

    def average_period(self) -> None:
        """End of my turn: my part of the mean goes on, and the whole mean comes back."""
        rank, size = self.comm.world.rank, self.comm.world.size
        trained = tf.identity(self.learner.vector)
        self.kept.assign((self.kept * float(rank) + trained) / float(rank + 1))
        if rank + 1 < size:
            tf.numpy_function(lambda mean: self.point_to_point.send(mean, rank + 1) or np.int32(0), [self.kept], tf.int32)
        self.learner.vector.assign(self.comm.broadcast(tf.convert_to_tensor(self.kept), size - 1))
        self.add_drift(trained, self.learner.vector)
        self.learner.constrain(self.learner.vector)

    @staticmethod
    def cost(job: Job, ranks: int, every: int) -> Parts:
        """A round is H steps of one rank after the other; who does not train waits."""
        link = widest_link(job, ranks)
        hand_over = (ranks * link.message(job.size) + all_reduce_everywhere(job, ranks)) / every if ranks > 1 else 0.0
        return job.step, hand_over, (ranks - 1) * job.step
