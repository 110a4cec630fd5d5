"""What happens beside training: progress, metrics, checkpoints, stopping early, and whatever a user wants to add."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


class Callback:
    """An observer of a training; a new one overrides what it needs.

    Each method is called on every rank at the same moment. So collectives of `session.comm` may be used, on every rank or on
    none; files belong to the root alone (`session.comm.world.is_root`).
    """

    name = ""  # under which checkpoints keep its state; empty where it has none

    def on_start(self, session: "Session") -> str | None:
        """Before the first step, a run that goes on having its cursor and its state already.

        Returns a reason to take no step at all, the same on all ranks, as that of a run that had been ended before.
        """

    def on_steps(self, session: "Session") -> str | None:
        """After each call into the graph; `session.cursor` says how far the run is.

        Returns a reason to end the training here, perhaps within an epoch, the same on all ranks; None to go on.
        """

    def on_epoch(self, session: "Session", record: dict) -> str | None:
        """After each epoch, when all ranks are synchronized.

        Args:
            record: the line of `metrics.jsonl`, the same on all ranks.

        Returns a reason to end the training here, the same on all ranks; None to go on.
        """

    def on_stop(self, session: "Session") -> None:
        """When a signal has stopped the run, perhaps within an epoch."""

    def on_end(self, session: "Session", summary: dict) -> None:
        """When the run is over and what it leaves behind is written; `summary` is what `summary.json` holds."""

    def state(self) -> dict:
        """What a checkpoint keeps, as plain values for JSON, the same on all ranks."""
        return {}

    def restore(self, state: dict) -> None:
        """Go on from what `state` returned when the checkpoint was written."""
