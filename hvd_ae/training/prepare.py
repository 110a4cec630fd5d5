"""From settings to everything a run needs, every refusal made before the first step and agreed among ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hvd_ae.averaging import WAYS
from hvd_ae.averaging.way import Way, of_rank
from hvd_ae.collectives.agree import refused_by_all, same_on_all, together
from hvd_ae.collectives.engine import Engine
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
from hvd_ae.training.task import Task, reconstruction
from hvd_ae.world import World


@dataclass(frozen=True)
class Prepared:
    """A run that is ready for its first step."""

    settings: TrainSettings
    collectives: Engine
    source: Source
    task: Task
    replica: Replica
    way: Way

    def plan(self, epoch: int, taken: Sequence[Segment] = ()) -> EpochPlan:
        """This rank's rows in what is left of this epoch after other numbers of ranks have taken their steps."""
        s, train, world = self.settings, self.source.train, self.way.data_world(self.collectives.world)
        plan = plan_epoch(
            s.partition, train.count, world or self.trainers, s.batch_size, s.seed, epoch,
            labels=train.labels, concentration=s.concentration, taken=taken,
        )
        return plan if world else EpochPlan(plan.indices[:0], np.zeros_like(plan.my_rows), plan.global_rows)

    @property
    def trainers(self) -> World:
        """The first of the ranks that train, and how many they are: all ranks, but for a server."""
        return trainers(self.settings, self.collectives.world)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.source.train.count, self.settings.batch_size, self.trainers.size)

    @property
    def bytes_per_step(self) -> int:
        """Of this rank's rows, as they lie in memory or in a file."""
        train = self.source.train
        return self.settings.batch_size * math.prod(train.sample_shape) * train.values.dtype.itemsize


def prepare(settings: TrainSettings, collectives: Engine, source: Source | None = None,
            task: Task | None = None) -> Prepared:
    """Load the data, build the model, and give every rank the root's parameters.

    Args:
        source: the data, where they have been loaded already.
        task: what to train, where that is not the autoencoder of the settings.

    Raises:
        Refused: on every rank alike, whichever rank saw the fault.
    """
    source = source or load_on_all(settings, collectives)
    task = task or reconstruction(settings, source.train.sample_shape)
    kind = WAYS[settings.averaging]
    together(collectives, lambda: kind.check(settings, collectives.world, collectives.name))
    replica = together(collectives, lambda: _build_replica(settings, source, task, collectives))
    take_from_root([replica.vector, replica.buffers, *replica.states], collectives)  # a model may have drawn without a seed
    steps = steps_per_epoch(source.train.count, settings.batch_size, trainers(settings, collectives.world).size)
    prepared = Prepared(settings, collectives, source, task, replica, kind(replica, collectives, settings, steps))
    together(collectives, lambda: _check_values(prepared))
    return prepared


def take_from_root(variables: Sequence[tf.Variable], collectives: Engine) -> None:
    """Give every rank the root's values (every rank calls it)."""

    @tf.function  # outside a graph it would need memory for two more copies
    def take(variable):
        variable.assign(of_rank(0, variable, collectives))

    for variable in variables:
        if variable.shape.num_elements():
            take(variable)


def load_on_all(settings: TrainSettings, collectives: Engine) -> Source:
    """The data as every rank sees them; one rank of each node downloads what is missing."""
    world = collectives.world
    together(collectives, lambda: ensure_downloaded(settings.data) if world.local_rank == 0 else None)
    source = together(collectives, lambda: load(
        settings.data, world=world, validation_split=settings.validation_split,
        validation_data=settings.validation_data, seed=settings.seed,
    ))
    if not same_on_all(collectives, fingerprint(source)):
        counts = collectives.all_gather(np.array([source.train.count], np.int64)).numpy().tolist()
        raise refused_by_all(f"data={settings.data!r} is not the same on all ranks (samples by rank: {counts}): give "
                             "every node the same files")
    return source


def trainers(settings: TrainSettings, world: World) -> World:
    """The world of the ranks that train, as the first of them sees it: all ranks, but for a server."""
    seen_by_last = WAYS[settings.averaging].data_world(World(world.size - 1, world.size))
    return World(0, seen_by_last.size if seen_by_last else world.size)


def steps_per_epoch(samples: int, batch_size: int, ranks: int) -> int:
    """Steps of the rank with the largest part, the last, partial batch included."""
    return math.ceil(math.ceil(samples / ranks) / batch_size)


def updates_per_epoch(settings: TrainSettings, samples: int, world: World) -> int:
    """How often the optimizer is called in an epoch."""
    ranks = trainers(settings, world).size
    steps = steps_per_epoch(samples, settings.batch_size, ranks)
    return WAYS[settings.averaging].updates_per_epoch(settings, steps, ranks)


def _build_replica(settings: TrainSettings, source: Source, task: Task, collectives: Engine) -> Replica:
    ranks = trainers(settings, collectives.world).size
    updates = updates_per_epoch(settings, source.train.count, collectives.world)
    rate = learning_rate_rule(settings.learning_rate, settings.lr_scaling, ranks, round(settings.warmup_epochs * updates))
    optimizer = make_optimizer(settings.optimizer, rate)
    flat = FlatModel(task.build(), task.loss)
    part = WAYS[settings.averaging].part(flat.layout.size, collectives.world)
    return Replica(flat, optimizer, collectives.world.rank, part)


def _check_values(prepared: Prepared) -> None:
    """Read this rank's rows once; refuse what is not finite, or what the model's output or the loss can never reach."""
    settings, source, world = prepared.settings, prepared.source, prepared.collectives.world
    shares = [check_rows(source.train, prepared.plan(0).indices),
              check_rows(source.validation, plan_evaluation(source.validation.count, world))]
    minimum, maximum = min(low for low, _ in shares), max(high for _, high in shares)
    if prepared.task.of_labels or (minimum >= 0.0 and maximum <= 1.0):
        return
    seen = f"data={settings.data!r} holds values from {minimum:.6g} to {maximum:.6g}"
    if settings.loss == "bce":
        raise Refused(f"{seen}, but loss='bce' is defined within 0 to 1: rescale the data, or use --loss mse")
    if settings.output_activation == "sigmoid":
        raise Refused(f"{seen}, but a sigmoid output stays within 0 to 1: rescale the data, or use "
                      "--output-activation linear")
