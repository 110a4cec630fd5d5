"""What all contestants share: the data, the widths of the model, and when the clock runs."""

import sys
import time

import numpy as np

WIDTHS = (784, 512, 256, 128, 64, 32, 64, 128, 256, 512, 784)
GLOBAL_BATCH = 256
LEARNING_RATE = 0.001


def arguments() -> tuple[np.ndarray, int, int]:
    """Images as uint8 (rows, 784), steps before the clock starts, and steps that are timed."""
    return np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


class Clock:
    """Starts after the warm-up and says the rate at the end."""

    def start(self) -> None:
        self._started = time.perf_counter()

    def say(self, samples: int) -> None:
        print(f"RATE {samples / (time.perf_counter() - self._started):.1f}", flush=True)
