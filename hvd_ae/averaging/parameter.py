"""Averaging parameters every H steps: ranks train alone in between, which sends 1/H of the bytes."""

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.periodic import Periodic
from hvd_ae.models.state import Kind, State


class Parameter(Periodic):
    """Local SGD (Stich 2019, https://arxiv.org/abs/1805.09767): H steps of one's own, then the mean of the parameters.

    The optimizer's state is kept as each rank's own, averaged with the parameters, or reset to zero at each average
    (`optimizer_state`). The last, incomplete period ends with an average too, as does every period that an evaluation or a
    checkpoint cuts short. Ranks count by the samples they trained on since the last average.

    With an outer optimizer the step from the last average to the new one counts as a gradient, and is taken by SGD with
    momentum: SlowMo (Wang et al. 2020, https://arxiv.org/abs/1910.00643), or, with "nesterov", DiLoCo (Douillard et al.
    2023, https://arxiv.org/abs/2311.08105). Its vectors are the same on all ranks.
    """

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.optimizer_state = settings.optimizer_state
        # steps without samples are not counted by the optimizer, so its counts may differ too
        of_optimizer = {Kind.OPTIMIZER} if settings.optimizer_state == "keep" else set()
        self.kinds_of_rank = frozenset({Kind.SEED, Kind.COUNT} | of_optimizer)
        self.outer = settings.outer_optimizer or "none"
        if self.outer != "none":
            self.outer_rate, self.outer_momentum = settings.outer_learning_rate, settings.outer_momentum
            self.anchor = tf.Variable(learner.vector, name="anchor", trainable=False)
            self.velocity = tf.Variable(tf.zeros_like(learner.vector), name="velocity", trainable=False)

    def added_state(self) -> dict[str, State]:
        if self.outer == "none":
            return {}
        return {"outer_anchor": State(self.anchor, Kind.STRATEGY), "outer_velocity": State(self.velocity, Kind.STRATEGY)}

    def begin_here(self) -> None:
        """Let the first outer step start from where the ranks are now, if none has been taken and no period is under way."""
        if self.outer != "none" and not self.steps_into_period and not np.any(self.velocity):
            self.anchor.assign(self.learner.vector)

    def average_period(self) -> None:
        """The average, what it does to the optimizer's state, and the outer step."""
        before = tf.identity(self.learner.vector)
        self.average_all(*self.learner.averaged, *(self.learner.optimizer_state if self.optimizer_state == "average" else []))
        if self.optimizer_state == "reset":
            for vector in self.learner.optimizer_state:
                vector.assign(tf.zeros_like(vector))
        self.add_drift(before, self.learner.vector)
        if self.outer != "none":
            self._outer_step()
        else:
            self.learner.constrain(self.learner.vector)

    def average_all(self, *vectors: tf.Variable) -> None:
        self.average(*vectors, self.learner.buffers)

    def _outer_step(self) -> None:
        moved = self.anchor - self.learner.vector
        self.velocity.assign(self.outer_momentum * self.velocity + moved)
        step = moved + self.outer_momentum * self.velocity if self.outer == "nesterov" else self.velocity
        self.anchor.assign_sub(self.outer_rate * step)
        self.learner.constrain(self.anchor)
        self.learner.vector.assign(self.anchor)
