"""What a conversion has gained: bytes, and samples a second."""

import os
from collections.abc import Iterable
from pathlib import Path

from hvd_ae.data import speed
from hvd_ae.data.open import open_source, training_part
from hvd_ae.data.source import SAMPLES, Source
from hvd_ae.settings.units import bytes_as_text

_SECONDS = 0.5  # for each of the four measurements


def bytes_on_disk(paths: Iterable[Path]) -> int:
    """Of files, and of all files in folders."""
    found = (file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(os.stat(file).st_size for file in found if file.is_file())


def gained(source: Source, bytes_before: int, data: str, made: list[Path]) -> str:
    """Two lines, measured by this process alone.

    Args:
        data: what was made, as `--data` takes it.
        made: the files and folders of it.
    """
    now, fields = training_part(open_source(data)), [SAMPLES]
    before, after = ([measure(samples, fields, _SECONDS) for measure in (speed.in_order, speed.at_random)]
                     for samples in (source, now))
    said = [f"{what} {slow:,.0f} samples/s before, {fast:,.0f} now"
            for what, slow, fast in zip(("in order", "at random"), before, after)]
    return (f"bytes: {bytes_as_text(bytes_before) if bytes_before else 'none, computed'} before, "
            f"{bytes_as_text(bytes_on_disk(made))} now\nread by one process, {', '.join(said)}")
