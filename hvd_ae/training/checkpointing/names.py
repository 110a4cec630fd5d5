"""What checkpoints and the files in them are called."""

import re
from pathlib import Path


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, the newest first."""
    return sorted((path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)), key=step_of, reverse=True)


def newest_step(folder: Path) -> int:
    """The step of the newest finished checkpoint; 0 where there is none."""
    return max(map(step_of, checkpoints(folder)), default=0)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def own_prefix(rank: int) -> str:
    return f"rank-{rank:05d}."
