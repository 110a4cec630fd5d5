"""One training, from settings to its last step: the one way to train, for commands, tests and users' scripts alike."""

import math
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from hvd_ae.averaging import strategy_class
from hvd_ae.averaging.strategy import Strategy, of_rank
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.data.checks import Range, check_bounds_of, check_some, some_of_plan, some_of_share
from hvd_ae.data.epoch_plan import EpochPlan, plan_epoch
from hvd_ae.data.load import fingerprint
from hvd_ae.data.partition import Segment
from hvd_ae.data.source import CONDITION, LABELS, TARGETS, Splits
from hvd_ae.data.statistics import Statistics
from hvd_ae.errors import Refused, ranks_are_together
from hvd_ae.models.batch_statistics import BatchStatistics, batch_normalizations
from hvd_ae.models.learner import Learner
from hvd_ae.models.optimizers import make_optimizer
from hvd_ae.models.schedules import make_schedule
from hvd_ae.runtime.consensus import run_on_all
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks import task_of
from hvd_ae.tasks.task import Task
from hvd_ae.training.asked_for import asked_for
from hvd_ae.training.callbacks import Callback
from hvd_ae.training.cursor import Cursor
from hvd_ae.training.input import Input
from hvd_ae.training.loop import Loop
from hvd_ae.training.normalizing import normalized_on_all
from hvd_ae.training.report import EpochReport
from hvd_ae.training.samples import load_on_all


class Session:
    """A training that is ready for its first step; used in a `with` statement, which closes what it has opened.

    Every refusal is made before the first step, and on every rank alike, whichever rank saw the fault. Every rank makes one.

    Args:
        settings: resolved ones.
        source: training and validation samples, where they are not to be loaded as the settings say.
        task: what is learnt, where that is not what the settings say.
        callbacks: what happens beside training, in this order.
        schedule: from the updates of an epoch to a Keras schedule, in place of the learning rate of the settings.
        statistics: of the training samples, if they have been measured already; those of the root count.
        learner: what takes steps: called with the model as a function of a vector, the optimizer, the
            rank, and the part of the parameters that this rank's optimizer updates (None for all).
        optimizer: from a learning rate, or a schedule of it, to a Keras optimizer, in place of that of the settings.

    raw_source has the samples as the user gave them, source the same with fields as the model sees them.

    Raises:
        Refused: on every rank.
    """

    def __init__(self, settings: TrainSettings, comm: Communicator, source: Splits | None = None, task: Task | None = None,
                 callbacks: Sequence[Callback] = (), schedule: Callable[[int], object] | None = None,
                 statistics: Statistics | None = None, learner: type[Learner] = Learner,
                 optimizer: Callable[[object], keras.optimizers.Optimizer] | None = None):
        self.settings, self.comm, self.callbacks = settings, comm, [*asked_for(settings), *callbacks]
        self.source = self.raw_source = source or load_on_all(settings, comm)
        self.task = task or run_on_all(comm, lambda: task_of(settings))
        self.cursor, self._schedule, self._learner, self._optimizer = Cursor(), schedule, learner, optimizer
        self.data_fingerprint: list[int] = run_on_all(comm, lambda: fingerprint(self.source)).tolist()
        self.stop_reason: str | None = None  # why a callback has ended the training
        self.stopped_by: str | None = None  # the signal that has
        self._kind = strategy_class(settings.averaging)
        run_on_all(comm, lambda: self._kind.check(settings, comm.world, comm.name))
        run_on_all(comm, self._check_fields)
        run_on_all(comm, lambda: self.task.look(self.source))
        normalized = self.task.fields if self.task.normalized is None else self.task.normalized
        self.source, self.statistics = normalized_on_all(self.raw_source, normalized, settings, comm, self.data_fingerprint,
                                                         statistics)
        self.input = Input(self.source.train, self.task.fields, settings, comm)
        run_on_all(comm, self._check_values)
        self.learner: Learner = run_on_all(comm, self._build_learner)
        # a model may have drawn without a seed
        broadcast_variables([self.learner.vector, self.learner.buffers, *self.learner.tables], comm)
        if settings.ema is not None:
            self.learner.keep_average(settings.ema)
        self.strategy: Strategy = self._kind(self.learner, comm, settings, self.steps_per_epoch)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if ranks_are_together(error):
            self.strategy.close()
            self.input.close()

    def run(self, stop_requested: Callable[[], str | None] = lambda: None) -> list[EpochReport]:
        """As `epochs`, to the end."""
        return list(self.epochs(stop_requested))

    def epochs(self, stop_requested: Callable[[], str | None] = lambda: None) -> Iterator[EpochReport]:
        """Train from the cursor to the last epoch or step, or until a callback or a signal ends it; each epoch's report.

        Args:
            stop_requested: asked on all ranks before each call into the graph, with the same answer on all: None, or why
                to stop there. `stopped_by` then says so, and the ranks have not synchronized.

        Raises:
            OutOfSync: on every rank, where ranks that should hold the same do not.
        """
        loop = Loop(self, stop_requested, self.input.prepare())
        for callback in self.callbacks:
            self.stop_reason = callback.on_start(self) or self.stop_reason
        for report in loop.run():
            if report is None:
                for callback in self.callbacks:
                    self.stop_reason = callback.on_steps(self) or self.stop_reason
                continue
            for callback in self.callbacks:
                self.stop_reason = callback.on_epoch(self, report.record()) or self.stop_reason
            yield report
        if self.stopped_by:
            for callback in self.callbacks:
                callback.on_stop(self)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to train."""
        s = self.settings
        return (self.stop_reason is not None or self.cursor.epoch >= s.epochs
                or (s.steps is not None and self.cursor.step >= s.steps))

    def plan(self, epoch: int, taken: Sequence[Segment] = ()) -> EpochPlan:
        """This rank's samples in what is left of this epoch after other numbers of ranks have taken their steps."""
        world = self._kind.data_world(self.comm.world)
        plan = plan_epoch(self.input.partition, world or self.trainers, self.settings.batch_size, epoch, taken)
        return plan if world else plan.without_samples()

    @property
    def trainers(self) -> World:
        """The first of the ranks that train, and how many they are: all ranks, but for a server."""
        return trainers(self.settings, self.comm.world)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.source.train.count, self.settings.batch_size, self.trainers.size)

    @property
    def updates_per_epoch(self) -> int:
        """How often the optimizer is called in an epoch."""
        return self._kind.updates_per_epoch(self.settings, self.steps_per_epoch, self.trainers.size)

    @property
    def _updates(self) -> int:
        """How often the optimizer is called in the whole run."""
        epochs = self.settings.epochs if self.settings.steps is None else min(
            self.settings.epochs, self.settings.steps / self.steps_per_epoch)
        return math.ceil(epochs * self.updates_per_epoch)

    @property
    def bytes_per_step(self) -> int:
        """Of this rank's samples, as they lie in memory or in a file."""
        return self.settings.batch_size * sum(self.source.train.fields[name].bytes_stored for name in self.task.fields)

    def _build_learner(self) -> Learner:
        s, updates = self.settings, self.updates_per_epoch
        rate = self._schedule(updates) if self._schedule else make_schedule(s, self.trainers.size, updates, self._updates)
        optimizer = self._optimizer(rate) if self._optimizer else make_optimizer(s.optimizer, rate, s.optimizer_settings)
        world, spec = self.comm.world, self.source.train.fields
        learner = self.task.build_learner(spec, optimizer, world.rank, lambda count: self._kind.part(count, world),
                                          self._learner)
        layers = batch_normalizations(learner.flat.keras_model)
        if s.sync_batch_norm:
            if not layers:
                raise Refused(f"sync_batch_norm=True has no effect with model={s.model!r}, which has no batch normalization: "
                              "drop it")
            learner.flat.batch_statistics = BatchStatistics(self.comm)
        elif self.comm.world.size > 1 and any(layer.synchronized for layer in layers):
            raise Refused(f"model={s.model!r} has a BatchNormalization(synchronized=True), and statistics are each rank's own "
                          "here: use --sync-batch-norm, or leave synchronized out")
        return learner

    def _check_fields(self) -> None:
        train, validation = self.source.train, self.source.validation
        for name in (TARGETS, CONDITION):
            field = LABELS if getattr(self.settings, name) == LABELS else name
            if getattr(self.settings, name) is not None and field not in self.task.fields:
                raise Refused(f"{name}={getattr(self.settings, name)!r} has no effect with this task, which reads "
                              f"{', '.join(self.task.fields)}: drop it, or use a task that reads {name} (docs/tasks.md)")
        for name in self.task.fields:
            if name not in train.fields or name not in validation.fields:
                raise Refused(f"data={train.name!r} has no {name}, which are needed here: its fields are "
                              f"{', '.join(train.fields)}")

    def _check_values(self) -> None:
        """Look at as many of this rank's samples as are read in a moment; the others are checked as they come."""
        train, validation, allowed, world = self.source.train, self.source.validation, self.task.allowed(), self.comm.world
        if min(self.input.partition.sizes(self.trainers.size)) == 0:
            raise Refused(f"data={train.name!r} has too few blocks for {world.size} ranks with partition="
                          f"{self.settings.partition!r}: use partition='reshuffled', or fewer ranks")
        for name in self.task.fields:
            field, range_ = train.fields[name], allowed.get(name, Range())
            if field.normalization is not None and field.normalization.bounds is not None and not range_.of_raw:
                check_bounds_of(*field.normalization.bounds, train, field, range_)
            check_some(train, some_of_plan(train, self.plan(0), name, world), name, range_)
            check_some(validation, some_of_share(validation, world), name, Range() if range_.of_training else range_)


def broadcast_variables(variables: Sequence[tf.Variable], comm: Communicator) -> None:
    """Give every rank the root's values (every rank calls it)."""

    @tf.function  # outside a graph it would need memory for two more copies
    def take(variable):
        variable.assign(of_rank(0, variable, comm))

    for variable in variables:
        if variable.shape.num_elements():
            take(variable)


def trainers(settings: TrainSettings, world: World) -> World:
    """The world of the ranks that train, as the first of them sees it: all ranks, but for a server."""
    seen_by_last = strategy_class(settings.averaging).data_world(World(world.size - 1, world.size))
    return World(0, seen_by_last.size if seen_by_last else world.size)


def steps_per_epoch(samples: int, batch_size: int, ranks: int) -> int:
    """Steps of the rank with the largest part, the last, partial batch included."""
    return math.ceil(math.ceil(samples / ranks) / batch_size)
