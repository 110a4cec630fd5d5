"""What a person sees while a run goes on: a bar on a terminal, a line an epoch anywhere else."""

import sys

from tqdm import tqdm

from hvd_ae.training.cursor import Cursor


class ProgressDisplay:
    """Shows an epoch's steps as a bar where standard error is a terminal, and each epoch's figures as a line."""

    def __init__(self, epochs: int):
        self._epochs = epochs
        self._bar: tqdm | None = None

    def show_steps(self, cursor: Cursor, steps_per_epoch: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=steps_per_epoch, desc=f"epoch {cursor.epoch + 1}/{self._epochs}", unit="step", leave=False,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(cursor.step_in_epoch - self._bar.n)

    def show_epoch(self, row: dict) -> None:
        """`row` holds the fields of a report."""
        self.close()
        rate = row["samples_per_second"]
        losses = "".join(f"{name} {row[name]:.5f}  " for name in ("train_loss", "val_mse") if row[name] is not None)
        line = f"epoch {row['epoch']}/{self._epochs}  {losses}" + (f"{rate:,.0f} samples/s" if rate else "speed not measured")
        if row["drift"] is not None:
            line += f"  drift {row['drift']:.3g}"
        if row["in_sync"]:
            line += "  in sync"
        print(line, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
