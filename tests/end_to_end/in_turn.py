"""Starts several `hvd-ae` commands in one job: to import TensorFlow takes ranks longer than most commands do."""

import json
import sys
from pathlib import Path

from tests.launch import mpirun, run, succeeded

SCRIPT = str(Path(__file__).with_name("commands_in_turn.py"))


def run_in_turn(ranks: int, commands: list[list[str]], folder: Path, cwd: Path | None = None, timeout: float = 240,
                environments: list[dict] | None = None) -> list[list[dict]]:
    """What each command came to, by rank: its `status`, `out`, `err` and `seconds`, as `commands_in_turn.py` says.

    Args:
        folder: for the commands and their results.
        cwd: where they run; None for `folder`.
        environments: for each command, what is added to the environment.
    """
    given = [{"arguments": each, "environment": environment}
             for each, environment in zip(commands, environments or [{}] * len(commands), strict=True)]
    (folder / "commands.json").write_text(json.dumps(given))
    (folder / "ended").mkdir(exist_ok=True)
    command = [sys.executable, SCRIPT, str(folder / "commands.json"), str(folder / "ended")]
    cwd = cwd or folder
    succeeded(mpirun(ranks, *command, cwd=cwd, timeout=timeout) if ranks > 1 else run(command, cwd=cwd, timeout=timeout))
    return [json.loads((folder / "ended" / f"{rank}.json").read_text()) for rank in range(ranks)]
