"""First gradients at every step, then parameters every H steps."""

import tensorflow as tf

from hvd_ae.averaging.gradient import Gradient
from hvd_ae.averaging.parameter import Parameter
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.learner import Batch
from hvd_ae.models.state import State


class PostLocal(Strategy):
    """Post-local SGD (Lin et al. 2020, https://arxiv.org/abs/1808.07217).

    `gradient` for the first `local_after` epochs, when the loss still falls fast, then `parameter`, whose docstring says
    what becomes of optimizer state and incomplete periods.
    """

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.first = Gradient(learner, comm, settings, steps_per_epoch)
        self.then = Parameter(learner, comm, settings, steps_per_epoch)
        self.drift, self.kinds_of_rank, self.period = self.then.drift, self.then.kinds_of_rank, self.then.period
        self.local_after = settings.local_after
        self.is_local = tf.Variable(False, name="is_local", trainable=False)

    def added_state(self) -> dict[str, State]:
        return self.then.added_state()

    @property
    def exact_state(self) -> dict[str, tf.Variable]:
        return {**self.first.exact_state, **self.then.exact_state}

    @property
    def steps_into_period(self) -> int:
        return self.then.steps_into_period

    def begin_epoch(self, epoch: int) -> None:
        """The outer optimizer, where there is one, sets out from what the gradients have reached."""
        self.is_local.assign(epoch >= self.local_after)
        if epoch >= self.local_after:
            self.then.begin_here()

    def step(self, batch: Batch) -> tf.Tensor:
        if self.is_local:  # noqa: SIM108 - of a tensor: autograph makes a branch of the graph from it
            loss_sum = self.then.step(batch)
        else:
            loss_sum = self.first.step(batch)
        return loss_sum

    def synchronize(self) -> None:
        self.then.synchronize()
        self.first.synchronize()
