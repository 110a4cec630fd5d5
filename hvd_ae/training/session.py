"""From settings to everything a run needs, every refusal made before the first step and agreed among ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hvd_ae.averaging import STRATEGIES
from hvd_ae.averaging.strategy import Strategy, of_rank
from hvd_ae.collectives.communicator import Communicator
from hvd_ae.config import TrainSettings
from hvd_ae.data.batches import EpochPlan, plan_epoch, plan_evaluation
from hvd_ae.data.download import ensure_downloaded
from hvd_ae.data.partition import Segment
from hvd_ae.data.samples import check_rows
from hvd_ae.data.sources import Source, fingerprint, load
from hvd_ae.errors import Refused
from hvd_ae.models.flat import FlatModel
from hvd_ae.models.optimizers import learning_rate_rule, make_optimizer
from hvd_ae.models.replica import Replica
from hvd_ae.runtime.consensus import refused_on_all, run_on_all, same_on_all
from hvd_ae.runtime.world import World
from hvd_ae.training.task import Task, reconstruction


@dataclass(frozen=True)
class Session:
    """A run that is ready for its first step."""

    settings: TrainSettings
    comm: Communicator
    source: Source
    task: Task
    replica: Replica
    strategy: Strategy

    def plan(self, epoch: int, taken: Sequence[Segment] = ()) -> EpochPlan:
        """This rank's rows in what is left of this epoch after other numbers of ranks have taken their steps."""
        s, train, world = self.settings, self.source.train, self.strategy.data_world(self.comm.world)
        plan = plan_epoch(
            s.partition, train.count, world or self.trainers, s.batch_size, s.seed, epoch,
            labels=train.labels, concentration=s.concentration, taken=taken,
        )
        return plan if world else EpochPlan(plan.indices[:0], np.zeros_like(plan.batch_sizes), plan.global_batch_sizes)

    @property
    def trainers(self) -> World:
        """The first of the ranks that train, and how many they are: all ranks, but for a server."""
        return trainers(self.settings, self.comm.world)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.source.train.count, self.settings.batch_size, self.trainers.size)

    @property
    def bytes_per_step(self) -> int:
        """Of this rank's rows, as they lie in memory or in a file."""
        train = self.source.train
        return self.settings.batch_size * math.prod(train.sample_shape) * train.values.dtype.itemsize


def prepare(settings: TrainSettings, comm: Communicator, source: Source | None = None,
            task: Task | None = None) -> Session:
    """Load the data, build the model, and give every rank the root's parameters.

    Args:
        source: the data, where they have been loaded already.
        task: what to train, where that is not the autoencoder of the settings.

    Raises:
        Refused: on every rank alike, whichever rank saw the fault.
    """
    source = source or load_on_all(settings, comm)
    task = task or reconstruction(settings, source.train.sample_shape)
    kind = STRATEGIES[settings.averaging]
    run_on_all(comm, lambda: kind.check(settings, comm.world, comm.name))
    replica = run_on_all(comm, lambda: _build_replica(settings, source, task, comm))
    broadcast_variables([replica.vector, replica.buffers, *replica.states], comm)  # a model may have drawn without a seed
    steps = steps_per_epoch(source.train.count, settings.batch_size, trainers(settings, comm.world).size)
    session = Session(settings, comm, source, task, replica, kind(replica, comm, settings, steps))
    run_on_all(comm, lambda: _check_values(session))
    return session


def broadcast_variables(variables: Sequence[tf.Variable], comm: Communicator) -> None:
    """Give every rank the root's values (every rank calls it)."""

    @tf.function  # outside a graph it would need memory for two more copies
    def take(variable):
        variable.assign(of_rank(0, variable, comm))

    for variable in variables:
        if variable.shape.num_elements():
            take(variable)


def load_on_all(settings: TrainSettings, comm: Communicator) -> Source:
    """The data as every rank sees them; one rank of each node downloads what is missing."""
    world = comm.world
    run_on_all(comm, lambda: ensure_downloaded(settings.data) if world.local_rank == 0 else None)
    source = run_on_all(comm, lambda: load(
        settings.data, world=world, validation_split=settings.validation_split,
        validation_data=settings.validation_data, seed=settings.seed,
    ))
    if not same_on_all(comm, fingerprint(source)):
        counts = comm.all_gather(np.array([source.train.count], np.int64)).numpy().tolist()
        raise refused_on_all(f"data={settings.data!r} is not the same on all ranks (samples by rank: {counts}): give "
                             "every node the same files")
    return source


def trainers(settings: TrainSettings, world: World) -> World:
    """The world of the ranks that train, as the first of them sees it: all ranks, but for a server."""
    seen_by_last = STRATEGIES[settings.averaging].data_world(World(world.size - 1, world.size))
    return World(0, seen_by_last.size if seen_by_last else world.size)


def steps_per_epoch(samples: int, batch_size: int, ranks: int) -> int:
    """Steps of the rank with the largest part, the last, partial batch included."""
    return math.ceil(math.ceil(samples / ranks) / batch_size)


def updates_per_epoch(settings: TrainSettings, samples: int, world: World) -> int:
    """How often the optimizer is called in an epoch."""
    ranks = trainers(settings, world).size
    steps = steps_per_epoch(samples, settings.batch_size, ranks)
    return STRATEGIES[settings.averaging].updates_per_epoch(settings, steps, ranks)


def _build_replica(settings: TrainSettings, source: Source, task: Task, comm: Communicator) -> Replica:
    ranks = trainers(settings, comm.world).size
    updates = updates_per_epoch(settings, source.train.count, comm.world)
    rate = learning_rate_rule(settings.learning_rate, settings.lr_scaling, ranks, round(settings.warmup_epochs * updates))
    optimizer = make_optimizer(settings.optimizer, rate)
    flat = FlatModel(task.build(), task.loss)
    part = STRATEGIES[settings.averaging].part(flat.layout.size, comm.world)
    return Replica(flat, optimizer, comm.world.rank, part)


def _check_values(session: Session) -> None:
    """Read this rank's rows once; refuse what is not finite, or what the model's output or the loss can never reach."""
    settings, source, world = session.settings, session.source, session.comm.world
    shares = [check_rows(source.train, session.plan(0).indices),
              check_rows(source.validation, plan_evaluation(source.validation.count, world))]
    minimum, maximum = min(low for low, _ in shares), max(high for _, high in shares)
    if session.task.of_labels or (minimum >= 0.0 and maximum <= 1.0):
        return
    seen = f"data={settings.data!r} holds values from {minimum:.6g} to {maximum:.6g}"
    if settings.loss == "bce":
        raise Refused(f"{seen}, but loss='bce' is defined within 0 to 1: rescale the data, or use --loss mse")
    if settings.output_activation == "sigmoid":
        raise Refused(f"{seen}, but a sigmoid output stays within 0 to 1: rescale the data, or use "
                      "--output-activation linear")
