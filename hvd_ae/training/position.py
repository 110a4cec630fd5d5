"""How far a run is: plain numbers that a checkpoint can hold."""

import dataclasses
from dataclasses import dataclass

from hvd_ae.data.batches import Chunk


@dataclass(frozen=True)
class Position:
    """How far a run is."""

    epoch: int = 0  # epochs completed
    step_in_epoch: int = 0
    step: int = 0  # steps since the run's start
    samples: int = 0  # over all ranks, since the run's start
    loss_sum: float = 0.0  # of this rank's losses in this epoch so far
    epoch_samples: int = 0  # over all ranks, in this epoch so far

    def advanced(self, chunk: Chunk, loss_sum: float) -> "Position":
        steps, samples = len(chunk.global_rows), int(chunk.global_rows.sum())
        return dataclasses.replace(
            self, step_in_epoch=self.step_in_epoch + steps, step=self.step + steps, samples=self.samples + samples,
            loss_sum=self.loss_sum + loss_sum, epoch_samples=self.epoch_samples + samples,
        )

    def next_epoch(self) -> "Position":
        return dataclasses.replace(self, epoch=self.epoch + 1, step_in_epoch=0, loss_sum=0.0, epoch_samples=0)
