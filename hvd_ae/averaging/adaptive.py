"""Averaging parameters every H steps, with H chosen while training goes on."""

import numpy as np
import tensorflow as tf

from hvd_ae.averaging.parameter import Parameter
from hvd_ae.averaging.strategy import Strategy
from hvd_ae.models.state import Kind, State


class Adaptive(Parameter):
    """`parameter` with a period that follows what is measured, after AdaComm (Wang and Joshi 2019,
    https://arxiv.org/abs/1810.08313).

    After each call into the graph, and when they have synchronized, the ranks look together at what they have measured since
    they last looked at an average: where the root mean square distance of a rank from the average exceeds `drift_limit`
    times the norm of the parameters, H is halved; else, where communication took more than `communication_share` of the
    time, H is doubled; always within `min_sync_every` and `max_sync_every`, and never beyond the steps of an epoch, at
    whose end the ranks are averaged in any case. Every choice is recorded in `metrics.jsonl` as [step, H]. Since times are
    measured, a rerun may choose otherwise. Optimizer state, incomplete periods and weights are those of `parameter`.
    """

    def __init__(self, learner, comm, settings, steps_per_epoch):
        super().__init__(learner, comm, settings, steps_per_epoch)
        self.period = None  # it changes under way
        self.bounds = settings.min_sync_every, max(settings.min_sync_every, min(settings.max_sync_every, steps_per_epoch))
        self.sync_every = tf.Variable(min(settings.sync_every, self.bounds[1]), name="sync_every", trainable=False)
        self.drift_limit, self.communication_share = settings.drift_limit, settings.communication_share
        self.choices: list[list[int]] = []
        self._seen = np.zeros(2), 0.0  # drift and seconds of communication when an average was last looked at
        self._seconds = 0.0  # since then

    def added_state(self) -> dict[str, State]:
        return {**super().added_state(), "sync_every": State(self.sync_every, Kind.STRATEGY)}

    def begin_epoch(self, epoch: int) -> None:
        self._seen, self._seconds = (self.drift.numpy(), self.comm.traffic.seconds), 0.0
        if not self.learner.updates:  # the run's beginning, which one that is resumed has behind it
            self.choices.append([0, int(self.sync_every)])

    def after_call(self, step: int, seconds: float) -> None:
        self._seconds += seconds
        drift, communication = self.drift.numpy(), self.comm.traffic.seconds
        seen_drift, seen_communication = self._seen
        squares, averages, talked, total = self.comm.sum(
            np.array([*(drift - seen_drift), communication - seen_communication, self._seconds])).numpy()
        if not averages:
            return
        self._seen, self._seconds = (drift, communication), 0.0
        norm = self.comm.mean(tf.norm(self.learner.vector)[tf.newaxis]).numpy()[0]
        was = int(self.sync_every)
        chosen = self.choose(was, float(np.sqrt(squares / averages) / norm), float(talked / total))
        if chosen != was:
            self.sync_every.assign(chosen)
            self.choices.append([step, chosen])

    def after_synchronizing(self, step: int, seconds: float) -> None:
        """The last average of an epoch, which may be its only one."""
        self.after_call(step, seconds)

    def choose(self, sync_every: int, drift: float, share: float) -> int:
        """The next period, from the drift relative to the parameters' norm and the share of time in communication."""
        lowest, highest = self.bounds
        if drift > self.drift_limit:
            return max(lowest, sync_every // 2)
        return min(highest, sync_every * 2) if share > self.communication_share else sync_every

    def epoch_metrics(self) -> dict:
        made, self.choices = self.choices, []
        return {"sync_every_choices": made}

    cost = Strategy.cost  # it chooses H as it goes
