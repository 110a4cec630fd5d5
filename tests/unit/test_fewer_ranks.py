"""The settings with which fewer ranks take the global batches, and have the learning rate, of more."""

import dataclasses

import pytest

from hvd_ae.runtime.world import World
from hvd_ae.settings.train import TrainSettings
from hvd_ae.training.fewer_ranks import as_on


def seen(ranks: int, **given) -> tuple[int, int | None, float]:
    settings = as_on(TrainSettings(as_ranks=4, learning_rate=0.1, **given).resolved(), World(0, ranks))
    return settings.batch_size, settings.accumulate, settings.learning_rate


@pytest.mark.parametrize(("ranks", "given", "batch", "accumulate"), [
    (4, {"batch_size": 32}, 32, 1),
    (2, {"batch_size": 32}, 32, 2),  # never more samples a step than 32
    (1, {"batch_size": 32}, 32, 4),
    (3, {"batch_size": 24}, 16, 2),  # 24 x 4 = 3 x 16 x 2
    (3, {"batch_size": 32}, 21, 2),  # 126, the nearest to 128
    (2, {"batch_size": 32, "accumulate": 3}, 32, 6),
    (8, {"batch_size": 32}, 16, 1),  # more ranks have come
    (2, {"batch_size": 32, "averaging": "sharded"}, 32, 2),
    (2, {"batch_size": 32, "averaging": "parameter"}, 64, None),
    (2, {"batch_size": 32, "averaging": "server"}, 96, None),  # three of four train, and one of two
    (2, {"batch_size": 32, "steps": 100}, 64, 1),  # so many steps are to be updates still
    (2, {"batch_size": 32, "buckets": 2}, 64, 1),
])
def test_the_global_batch_stays(ranks, given, batch, accumulate):
    assert seen(ranks, **given) == (batch, accumulate, 0.1)


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 2.0), ("sqrt", 2**0.5)])
def test_the_scaled_learning_rate_stays(scaling, factor):
    assert seen(2, lr_scaling=scaling)[2] == pytest.approx(0.1 * factor)


def test_nothing_changes_where_all_ranks_are_there():
    settings = TrainSettings(as_ranks=4, lr_scaling="linear").resolved()
    assert as_on(settings, World(0, 4)) is settings
    assert as_on(dataclasses.replace(settings, as_ranks=None), World(0, 2)).batch_size == 128
