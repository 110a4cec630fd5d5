"""What all peers share: the data, the widths of the model `deep`, and when the clock runs."""

import json
import sys
import time
from dataclasses import dataclass

import numpy as np

WIDTHS = (784, 512, 256, 128, 64, 32, 64, 128, 256, 512, 784)
GLOBAL_BATCH = 256
LEARNING_RATE = 0.001


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    samples: np.ndarray  # (rows, 784), uint8 of 0 to 255 or float32 of 0 to 1
    warm_up: float  # seconds before the clock starts
    seconds: float  # that are timed
    settings: dict[str, str]

    @property
    def scale(self) -> float:
        """What samples are multiplied by before the model sees them."""
        return 1 / 255 if self.samples.dtype == np.uint8 else 1.0


def given() -> Given:
    path, warm_up, seconds, *settings = sys.argv[1:]
    return Given(np.load(path), float(warm_up), float(seconds), dict(setting.split("=") for setting in settings))


def say(samples: int, seconds: float) -> None:
    print("ROW", json.dumps({"samples_per_second": samples / seconds}), flush=True)


class Clock:
    """Runs from the end of the warm-up to the end of the time; asked after every so many steps, on one process."""

    def __init__(self, told: Given):
        self._warm_up, self._seconds = told.warm_up, told.seconds
        self._begun, self._started, self._samples = time.perf_counter(), None, 0

    def over(self, samples: int) -> bool:
        """Count the samples trained on since the last call, over all processes; whether it is time to stop."""
        now = time.perf_counter()
        if self._started is None:
            if now - self._begun >= self._warm_up:
                self._started = now
            return False
        self._samples += samples
        self.elapsed = now - self._started
        return self.elapsed >= self._seconds

    def say(self) -> None:
        say(self._samples, self.elapsed)
