"""Ranks are drawn to a centre by an elastic force, and it to them."""

import tensorflow as tf

from hvd_ae.averaging.periodic import Periodic
from hvd_ae.models.state import Kind, State


class Elastic(Periodic):
    """Synchronous elastic averaging SGD (Zhang et al. 2015, https://arxiv.org/abs/1412.6651).

    Every H steps each rank moves by a = `elastic_rate` / N of its distance towards the centre, and the centre by a of
    the sum of those distances, that is by `elastic_rate` of its distance from the ranks' mean. Ranks count alike.
    Optimizer state is each rank's own, and so are the parameters: the centre, which all ranks hold alike, is what is
    evaluated and saved. A period that an evaluation or a checkpoint cuts short ends with such a move too.
    """

    kinds_of_rank = frozenset({Kind.SEED, Kind.OPTIMIZER, Kind.COUNT, Kind.PARAMETERS})

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.centre_rate = settings.elastic_rate
        self.rank_rate = settings.elastic_rate / comm.world.size
        self.centre = tf.Variable(learner.vector, name="centre", trainable=False)

    @property
    def result(self) -> tuple[tf.Variable, tf.Variable]:
        return self.centre, self.learner.buffers

    def added_state(self) -> dict[str, State]:
        return {"centre": State(self.centre, Kind.STRATEGY)}

    def average_period(self) -> None:
        """One elastic move of ranks and centre, both from where they were before it."""
        mean = self.comm.mean(tf.convert_to_tensor(self.learner.vector))
        self.add_drift(self.learner.vector, mean)
        self.learner.vector.assign_sub(self.rank_rate * (self.learner.vector - self.centre))
        self.centre.assign_add(self.centre_rate * (mean - self.centre))
        self.learner.constrain(self.learner.vector)
        self.learner.constrain(self.centre)
