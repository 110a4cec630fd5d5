"""How far a run is: plain numbers that a checkpoint can hold."""

import dataclasses
from dataclasses import dataclass

from hvd_ae.data.feed import SuperBatch
from hvd_ae.data.partition import Segment


@dataclass(frozen=True)
class Cursor:
    """How far a run is."""

    epoch: int = 0  # epochs completed
    step_in_epoch: int = 0  # by these ranks with this batch
    step: int = 0  # steps since the run's start
    samples: int = 0  # over all ranks, since the run's start
    loss_sum: float = 0.0  # of this rank's losses in this epoch so far
    epoch_samples: int = 0  # over all ranks, in this epoch so far
    taken: tuple[Segment, ...] = ()  # what other numbers of ranks, or other batches, took of this epoch before

    def advanced(self, super_batch: SuperBatch, loss_sum: float) -> "Cursor":
        steps, samples = len(super_batch.global_batch_sizes), int(super_batch.global_batch_sizes.sum())
        return dataclasses.replace(
            self, step_in_epoch=self.step_in_epoch + steps, step=self.step + steps, samples=self.samples + samples,
            loss_sum=self.loss_sum + loss_sum, epoch_samples=self.epoch_samples + samples,
        )

    def next_epoch(self) -> "Cursor":
        return dataclasses.replace(self, epoch=self.epoch + 1, step_in_epoch=0, loss_sum=0.0, epoch_samples=0, taken=())

    @classmethod
    def from_table(cls, table: dict) -> "Cursor":
        """The inverse of `dataclasses.asdict`, by way of JSON."""
        return cls(**{**table, "taken": tuple(Segment(*segment) for segment in table["taken"])})

    def continued_by(self, ranks: int, batch_size: int) -> "Cursor":
        """The same place in the epoch for another number of ranks, or another batch, than these that got here."""
        if not self.step_in_epoch:
            return self
        return dataclasses.replace(
            self, step_in_epoch=0, taken=(*self.taken, Segment(ranks, batch_size, self.step_in_epoch)))
