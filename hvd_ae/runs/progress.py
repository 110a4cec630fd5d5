"""How far a run is, how fast it goes and how long it will take, from what a clock and a cursor say."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvd_ae.training.session import Session


@dataclass(frozen=True)
class Progress:
    """Samples over all ranks; the first call into the graph, in which it is traced, tells nothing of the speed."""

    done: int
    total: int
    samples_per_second: float | None  # since the first call, evaluations and checkpoints included; None before

    @property
    def seconds_left(self) -> float | None:
        return max(0, self.total - self.done) / self.samples_per_second if self.samples_per_second else None


class Pace:
    """Notes when how many samples had been trained on."""

    def __init__(self):
        self._first: tuple[float, int] | None = None

    def at(self, session: "Session", now: float) -> Progress:
        """Called after each call into the graph.

        Args:
            now: seconds of any clock.
        """
        done = session.cursor.samples
        if self._first is None:
            self._first = now, done
        seconds, samples = now - self._first[0], done - self._first[1]
        return Progress(done, samples_in_all(session), samples / seconds if samples > 0 and seconds > 0 else None)


def samples_in_all(session: "Session") -> int:
    """Of all epochs, or of as many steps as the settings allow."""
    s, cursor = session.settings, session.cursor
    samples = s.epochs * session.source.train.count
    if s.steps is not None:
        samples = min(samples, cursor.samples + max(0, s.steps - cursor.step) * s.batch_size * session.trainers.size)
    return samples


def as_time(seconds: float) -> str:
    """For a person: two units at most, such as 2 h 05 min."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days:
        return f"{days} d {hours_of_day:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {left:02} s" if minutes else f"{left} s"
