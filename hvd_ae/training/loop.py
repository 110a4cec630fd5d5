"""The training loop: the algorithm on one screen, progress yielded and already reduced over ranks."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hvd_ae.averaging.proof import prove
from hvd_ae.data.batches import chunks
from hvd_ae.training.evaluation import Evaluator
from hvd_ae.training.pace import Clock, call_ends
from hvd_ae.training.position import Position
from hvd_ae.training.prepare import Prepared
from hvd_ae.training.report import EpochReport, reduce_report
from hvd_ae.training.step import compile_steps


@dataclass(frozen=True)
class Progress:
    """How far the run is; with a report when an epoch, or the run, has just ended and all ranks are settled."""

    position: Position
    steps_per_epoch: int
    report: EpochReport | None = None


class Loop:
    """Trains from a position on; every rank iterates over `run()`, in step with the others.

    Args:
        stop_requested: asked on all ranks before each call into the graph, with the same answer on all: None, or why to
            stop there. `stopped` then says so, and the ranks have not settled.
    """

    def __init__(self, prepared: Prepared, position: Position, stop_requested: Callable[[], str | None] = lambda: None):
        self._p = prepared
        self.position = position
        self.stopped: str | None = None
        self._stop_requested = stop_requested
        self._steps_left = 0  # of this epoch
        task = prepared.task
        self._run_steps = compile_steps(prepared.way, prepared.source.train, task.of_labels)
        self._evaluator = Evaluator(
            prepared.way, prepared.source.validation, task.measures, prepared.collectives, prepared.settings.batch_size,
            task.of_labels,
        )

    @property
    def done(self) -> bool:
        s = self._p.settings
        return self.position.epoch >= s.epochs or (s.steps is not None and self.position.step >= s.steps)

    def run(self) -> Iterator[Progress]:
        """Train to the last epoch or step, or a stop, yielding after each call into the graph, and each epoch's report.

        Raises:
            OutOfStep: a proof failed.
        """
        traced = False
        while not self.done:
            clock = Clock(warm=traced)
            before = self._p.collectives.traffic
            yield from self._epoch(clock)
            if self.stopped:
                return
            self._p.way.after_settling(self.position.step, clock.timed_end(self._p.way.settle))
            traffic = self._p.collectives.traffic - before
            in_sync = prove(self._p.way, self.position.step)
            report = reduce_report(self._p, self.position, clock, traffic, self._evaluator.means(), in_sync)
            if not self._steps_left:
                self.position = self.position.next_epoch()
            traced = True
            yield Progress(self.position, self._p.steps_per_epoch, report)

    def _epoch(self, clock: Clock) -> Iterator[Progress]:
        p, first = self._p, self.position
        p.way.begin_epoch(first.epoch)
        plan = p.plan(first.epoch, first.taken)
        self._steps_left = len(plan.my_rows) - first.step_in_epoch
        steps = self._steps_left
        if p.settings.steps is not None:
            steps = min(steps, p.settings.steps - first.step)
        # ranks are in step at the end of each period, the first of which a checkpoint may have cut: proofs fall there only
        period, since = p.way.period or steps + 1, p.way.steps_into_period
        proof_every = math.ceil(p.settings.proof_every / period) * period
        ends = call_ends(steps, proof_every, p.bytes_per_step, p.way.steps_at_once, since)
        cuts = [first.step_in_epoch + end for end in ends]
        with chunks(p.source.train, plan, first.step_in_epoch, cuts, p.task.of_labels) as feed:
            for chunk in clock.timed(feed):
                self.stopped = self._stop_requested()
                if self.stopped:
                    return
                started = time.perf_counter()
                loss_sum = p.way.run_call(self._run_steps, chunk)
                self.position = self.position.advanced(chunk, loss_sum)
                self._steps_left -= len(chunk.my_rows)
                p.way.after_call(self.position.step, time.perf_counter() - started)
                if (self.position.step - first.step + since) % proof_every == 0:
                    prove(p.way, self.position.step, settled=False)
                yield Progress(self.position, self.position.step_in_epoch + self._steps_left)
