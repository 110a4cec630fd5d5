"""The global batch and the learning rate of a run that goes on with fewer ranks than it had."""

import dataclasses
import math

from hvd_ae.models.schedules import scaled_rate
from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.session import trainers


def as_on(settings: TrainSettings, world: World) -> TrainSettings:
    """The settings with which these ranks take the same global batches as `settings.as_ranks` ranks would.

    Strategies that accumulate take no more samples a step on any rank than --batch-size says, and more steps for an update;
    the others, and runs that are to end after so many steps, take larger batches. Where the number of ranks
    does not divide the global batch, the nearest one that it divides is taken.
    """
    if settings.as_ranks in (None, world.size):
        return settings
    then, now = trainers(settings, World(0, settings.as_ranks)).size, trainers(settings, world).size
    was, accumulated = settings.batch_size, settings.accumulate or 1
    samples = then * was * accumulated
    if settings.accumulate is not None and settings.steps is None and (settings.buckets or 1) == 1:
        fewest = math.ceil(samples / (now * was))
        exact = (steps for steps in range(fewest, 2 * fewest + 1) if samples % (now * steps) == 0)
        accumulated = next(exact, fewest)
    rate = settings.learning_rate * scaled_rate(1.0, settings.lr_scaling, then) / scaled_rate(1.0, settings.lr_scaling, now)
    return dataclasses.replace(
        settings, batch_size=max(1, round(samples / (now * accumulated))), learning_rate=rate,
        accumulate=None if settings.accumulate is None else accumulated)
