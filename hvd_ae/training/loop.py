"""The training loop: the algorithm on one screen, progress yielded and already reduced over ranks."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hvd_ae.averaging.sync_check import check_in_sync
from hvd_ae.data.batches import super_batches
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.evaluation import Evaluator
from hvd_ae.training.execution import Clock, call_ends
from hvd_ae.training.report import EpochReport, reduce_report
from hvd_ae.training.session import Session
from hvd_ae.training.step import compile_steps


@dataclass(frozen=True)
class Progress:
    """How far the run is; with a report when an epoch, or the run, has just ended and all ranks are settled."""

    cursor: Cursor
    steps_per_epoch: int
    report: EpochReport | None = None


class Loop:
    """Trains from a position on; every rank iterates over `run()`, in step with the others.

    Args:
        stop_requested: asked on all ranks before each call into the graph, with the same answer on all: None, or why to
            stop there. `stopped` then says so, and the ranks have not settled.
    """

    def __init__(self, session: Session, cursor: Cursor, stop_requested: Callable[[], str | None] = lambda: None):
        self._p = session
        self.cursor = cursor
        self.stopped: str | None = None
        self._stop_requested = stop_requested
        self._steps_left = 0  # of this epoch
        task = session.task
        self._run_steps = compile_steps(session.strategy, session.source.train, task.of_labels)
        self._evaluator = Evaluator(
            session.strategy, session.source.validation, task.measures, session.comm, session.settings.batch_size,
            task.of_labels,
        )

    @property
    def done(self) -> bool:
        s = self._p.settings
        return self.cursor.epoch >= s.epochs or (s.steps is not None and self.cursor.step >= s.steps)

    def run(self) -> Iterator[Progress]:
        """Train to the last epoch or step, or a stop, yielding after each call into the graph, and each epoch's report.

        Raises:
            OutOfStep: a proof failed.
        """
        traced = False
        while not self.done:
            clock = Clock(warm=traced)
            before = self._p.comm.traffic
            yield from self._epoch(clock)
            if self.stopped:
                return
            self._p.strategy.after_settling(self.cursor.step, clock.timed_end(self._p.strategy.synchronize))
            traffic = self._p.comm.traffic - before
            in_sync = check_in_sync(self._p.strategy, self.cursor.step)
            report = reduce_report(self._p, self.cursor, clock, traffic, self._evaluator.means(), in_sync)
            if not self._steps_left:
                self.cursor = self.cursor.next_epoch()
            traced = True
            yield Progress(self.cursor, self._p.steps_per_epoch, report)

    def _epoch(self, clock: Clock) -> Iterator[Progress]:
        p, first = self._p, self.cursor
        p.strategy.begin_epoch(first.epoch)
        plan = p.plan(first.epoch, first.taken)
        self._steps_left = len(plan.batch_sizes) - first.step_in_epoch
        steps = self._steps_left
        if p.settings.steps is not None:
            steps = min(steps, p.settings.steps - first.step)
        # ranks are in step at the end of each period, the first of which a checkpoint may have cut: proofs fall there only
        period, since = p.strategy.period or steps + 1, p.strategy.steps_into_period
        check_every = math.ceil(p.settings.check_every / period) * period
        ends = call_ends(steps, check_every, p.bytes_per_step, p.strategy.steps_at_once, since)
        cuts = [first.step_in_epoch + end for end in ends]
        with super_batches(p.source.train, plan, first.step_in_epoch, cuts, p.task.of_labels) as feed:
            for super_batch in clock.timed(feed):
                self.stopped = self._stop_requested()
                if self.stopped:
                    return
                started = time.perf_counter()
                loss_sum = p.strategy.run_call(self._run_steps, super_batch)
                self.cursor = self.cursor.advanced(super_batch, loss_sum)
                self._steps_left -= len(super_batch.batch_sizes)
                p.strategy.after_call(self.cursor.step, time.perf_counter() - started)
                if (self.cursor.step - first.step + since) % check_every == 0:
                    check_in_sync(p.strategy, self.cursor.step, settled=False)
                yield Progress(self.cursor, self.cursor.step_in_epoch + self._steps_left)
