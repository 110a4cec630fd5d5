"""The training loop: the algorithm on one screen."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from hvd_ae.averaging.sync_check import check_in_sync
from hvd_ae.data.checks import Range, check_values
from hvd_ae.data.feed import super_batches
from hvd_ae.tasks.task import with_counters
from hvd_ae.training.evaluation import Evaluator
from hvd_ae.training.execution import Clock, call_ends
from hvd_ae.training.report import EpochReport, reduce_report
from hvd_ae.training.step import compile_steps

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


class Loop:
    """Trains from the session's cursor on; every rank iterates over `run()`, in step with the others.

    Args:
        prepared: seconds in which data were read into memory, which belong to the first epoch.
    """

    def __init__(self, session: "Session", stop_requested: Callable[[], str | None], prepared: float = 0.0):
        self._session, self._stop_requested, self._prepared = session, stop_requested, prepared
        self._steps_left = 0  # of this epoch
        self._run_steps = compile_steps(session.strategy, session.source.train, session.task)
        self._evaluator = Evaluator(session.strategy, session.source.validation, session.task, session.comm,
                                    session.settings.batch_size, session.input.holds_all)
        self._check = self._check_values  # samples are checked in the first epoch, in which all of them come

    def run(self) -> Iterator[EpochReport | None]:
        """Train until the session is done or stopped, yielding None after each call into the graph, and each epoch's report.

        Raises:
            OutOfSync: ranks that should hold the same do not.
        """
        traced, session = False, self._session
        while not session.done:
            clock, self._prepared = Clock(warm=traced, spent=self._prepared), 0.0
            before = session.comm.traffic
            yield from self._epoch(clock)
            if session.stopped_by:
                return
            session.strategy.after_synchronizing(session.cursor.step, clock.timed_end(session.strategy.synchronize))
            traffic = session.comm.traffic - before
            in_sync = check_in_sync(session.strategy, session.cursor.step)
            report = reduce_report(session, clock, traffic, self._evaluator.means(), in_sync)
            if not self._steps_left:
                session.cursor = session.cursor.next_epoch()
                self._check = None
            traced = True
            yield report

    def _epoch(self, clock: Clock) -> Iterator[None]:
        session, first = self._session, self._session.cursor
        session.strategy.begin_epoch(first.epoch)
        if not first.epoch_samples:  # else the checkpoint says where in the schedule each rank is
            session.learner.count_updates_from(first.epoch * session.updates_per_epoch)
        plan = session.plan(first.epoch, first.taken)
        self._steps_left = len(plan.batch_sizes) - first.step_in_epoch
        steps = self._steps_left
        if session.settings.steps is not None:
            steps = min(steps, session.settings.steps - first.step)
        # ranks hold the same at the end of each period, the first of which a checkpoint may have cut: it is checked there
        period, since = session.strategy.period, session.strategy.steps_into_period
        never = steps + since + 1  # where only the end of an epoch is one
        check_every = math.ceil(session.settings.check_every / period) * period if period else never
        ends = call_ends(steps, check_every, session.bytes_per_step, session.strategy.steps_at_once, since)
        cuts = [first.step_in_epoch + end for end in ends]
        with super_batches(session.input.reader, plan, first.step_in_epoch, cuts, self._check,
                           partial(with_counters, session.task, epoch=first.epoch)) as feed:
            for super_batch in clock.timed(feed):
                session.stopped_by = self._stop_requested()
                if session.stopped_by:
                    return
                started = time.perf_counter()
                loss_sum = session.strategy.run_call(self._run_steps, super_batch)
                session.cursor = session.cursor.advanced(super_batch, loss_sum)
                self._steps_left -= len(super_batch.batch_sizes)
                session.strategy.after_call(session.cursor.step, time.perf_counter() - started)
                if (session.cursor.step - first.step + since) % check_every == 0:
                    check_in_sync(session.strategy, session.cursor.step, synchronized=False)
                yield None
                if session.stop_reason is not None:
                    return

    def _check_values(self, example: dict, indices) -> None:
        """Refuse values that cannot be trained on, of this rank alone: the job ends with the last checkpoint good."""
        allowed = self._session.task.allowed()
        for name, values in example.items():
            check_values(values, indices, self._session.source.train, name, allowed.get(name, Range()))
