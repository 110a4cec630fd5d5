"""An observer of one's own: a table of each epoch as CSV, and the end of a training that learns nothing.

    $ mpirun -np 2 python examples/callback.py

Each method is called on every rank at the same moment. Files belong to the root; what a callback returns must be the same on
all ranks, as it is where it follows from the record.
"""

import csv
import sys

import hvd_ae


class Table(hvd_ae.Callback):
    """Writes `table.csv` into the run folder, and stops where the loss has become no number or larger than at first."""

    name = "table"  # checkpoints keep its state under this name, so that a run that goes on still knows its first loss

    def __init__(self):
        self.first_loss = None

    def on_epoch(self, session, record):
        if self.first_loss is None:
            self.first_loss = record["train_loss"]
        if session.comm.world.is_root:
            path = f"{session.settings.run_dir}/table.csv"
            with open(path, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow([record["epoch"], record["train_loss"], record["val_loss"]])
        return None if record["train_loss"] <= self.first_loss else "the loss is larger than it was at first"

    def state(self):
        return {"first_loss": self.first_loss}

    def restore(self, state):
        self.first_loss = state["first_loss"]


def main(comm=None, **changes) -> hvd_ae.Result:
    settings = hvd_ae.TrainSettings(**{"data": "digits", "model": "shallow", "epochs": 3, **changes})
    return hvd_ae.train(settings, comm, callbacks=[Table()])


if __name__ == "__main__":
    result = main()
    if result.world.is_root:
        sys.stdout.write((result.run_dir / "table.csv").read_text())
