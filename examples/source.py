"""A reader of one's own: recordings of a detector, in a binary format that no library knows.

    $ python examples/source.py                                # writes a small events.bin, to try it
    $ hvd-ae train --data examples.source:events --epochs 2

A file is 16 bytes, "EVENTS1\\0", the number of events (uint32) and of channels (uint32), and then the events: each its class
(uint16) and the counts of its channels (uint16). `read` is all that a reader must have: samples by their numbers.
"""

from collections.abc import Sequence

import numpy as np

from hvd_ae.data.source import LABELS, SAMPLES, Field, Source
from hvd_ae.errors import Refused

FILE = "events.bin"
MAGIC = b"EVENTS1\0"


class Events(Source):
    """The events of one file. One costs no more than its own bytes, so they may be read in any order, one by one.

    Where a whole block must be decoded for a sample, as in compressed files, subclass `BlockSource` instead.
    """

    def __init__(self, path: str):
        self.name = path  # for messages
        try:
            with open(path, "rb") as file:
                header = file.read(16)
        except OSError as error:
            raise Refused(f"data={path!r} cannot be read ({error.strerror}): check the path") from None
        if len(header) < 16 or header[:8] != MAGIC or 0 in (sizes := np.frombuffer(header, "<u4", offset=8)):
            raise Refused(f"data={path!r} does not begin as a file of events does: write it with the detector's software")
        self.count, channels = (int(size) for size in sizes)  # `count`: how many samples there are
        event = np.dtype([("class", "<u2"), ("counts", "<u2", (channels,))])
        try:
            self._events = np.memmap(path, event, "r", 16, (self.count,))  # left in the file: a rank reads what it needs
        except ValueError:
            raise Refused(f"data={path!r} ends before its {self.count} events: copy it anew") from None
        # What a sample is made of. The model sees values as float32 times `scale`: here within 0 to 1.
        self.fields = {SAMPLES: Field((channels,), np.dtype(np.float32), 1 / 65535, event["counts"].itemsize),
                       LABELS: Field((), np.dtype(np.int64), 1.0, 2)}

    def read(self, indices: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
        events = self._events[indices]  # of all ranks' samples these alone
        held = {SAMPLES: "counts", LABELS: "class"}
        return {name: events[held[name]].astype(self.fields[name].dtype, order="C") for name in fields}


def events() -> Source:
    """What `--data examples.source:events` calls. A `Splits(train, validation)` would bring validation samples of its own."""
    return Events(FILE)


def write(path: str, classes: np.ndarray, counts: np.ndarray) -> None:
    """Events of these classes (events,) and counts (events, channels)."""
    events = np.zeros(len(counts), [("class", "<u2"), ("counts", "<u2", counts.shape[1:])])
    events["class"], events["counts"] = classes, counts
    with open(path, "wb") as file:
        file.write(MAGIC + np.array(counts.shape, "<u4").tobytes() + events.tobytes())


if __name__ == "__main__":
    random = np.random.default_rng(0)
    classes = random.integers(3, size=500)
    write(FILE, classes, random.poisson(1000 * (classes[:, None] + np.sin(np.arange(32)) + 1)))
