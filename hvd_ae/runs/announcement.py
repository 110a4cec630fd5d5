"""What a run says before its first step."""

from hvd_ae.models.schedules import scaled_rate
from hvd_ae.runtime.log import log
from hvd_ae.training.session import Session


def announce(session: Session) -> None:
    """Say what is about to run: the effective global batch and learning rate above all."""
    s, world, train = session.settings, session.comm.world, session.source.train
    trainers = session.trainers.size
    shapes = ", ".join(str(train.fields[name].shape) for name in session.task.fields)
    rate = scaled_rate(s.learning_rate, s.lr_scaling, trainers)
    nodes = f" on {world.nodes} nodes" if world.nodes > 1 else ""
    every = f" every {s.sync_every} steps" if s.sync_every else ""
    accumulated = f" x {s.accumulate} steps accumulated" if (s.accumulate or 1) > 1 else ""
    normalized = "" if s.normalize == "none" else f", normalized by {s.normalize} (losses too, and val_mse in raw units)"
    warm_up = f" after {s.warmup_epochs:g} epochs of warm-up" if s.warmup_epochs else ""
    log.info(
        f"{world.size} rank{'s' * (world.size > 1)}{nodes}, collectives: {s.collectives}\n"
        f"data: {train.name}, {train.count:,} training and {session.source.validation.count:,} validation samples of "
        f"shape {shapes}, partition {s.partition}{normalized}\n"
        f"model: {s.model}, {session.learner.flat.layout.size:,} parameters; averaging: {s.averaging}{every}\n"
        f"global batch: {s.batch_size * trainers * (s.accumulate or 1)} ({trainers} x {s.batch_size}{accumulated}), "
        f"{s.optimizer} at learning rate "
        f"{rate:.6g}{warm_up} (scaling {s.lr_scaling}, schedule {s.schedule})")
