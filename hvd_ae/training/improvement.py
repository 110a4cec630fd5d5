"""Whether a number that should fall has fallen, and for how long it has not."""

import math


class Improvement:
    """The lowest of the numbers that were seen, and how many have come since that were not lower by more than `min_delta`."""

    def __init__(self, min_delta: float = 0.0):
        self._min_delta = min_delta
        self.best: float | None = None
        self.since = 0

    def see(self, value: float) -> bool:
        """Whether this one is lower; what is not finite never is."""
        if math.isfinite(value) and (self.best is None or value < self.best - self._min_delta):
            self.best, self.since = value, 0
            return True
        self.since += 1
        return False

    def state(self) -> dict:
        return {"best": self.best, "since": self.since}

    def restore(self, state: dict) -> None:
        self.best, self.since = state["best"], state["since"]
