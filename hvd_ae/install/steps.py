"""Running one long command: what is being done, how far it is, and where its output went."""

import re
import subprocess
import sys
import time
from pathlib import Path

from hvd_ae.install.errors import ERROR, why_failed

SECONDS_BETWEEN_LINES = 20.0
LAST_LINES = 15
FIRST_ERRORS = 10


class StepFailed(SystemExit):
    """A step that should have worked did not: Python prints the sentence and exits with status 1."""


def say(text: str) -> None:
    """One line for the user, at once, also through a pipe."""
    print(f"hvd-ae install-horovod: {text}", flush=True)


def run_step(sentence: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in `log`, and say how far a build is (CMake's percentages) now and then.

    Raises:
        StepFailed: the command failed; its last lines go to standard error, then `sentence` and the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8", errors="replace") as output:
        try:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        except OSError as error:
            raise StepFailed(f"{sentence}: cannot start {command[0]}: {error.strerror}") from None
        try:
            _watch(process, log)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        print(last_lines(log), file=sys.stderr)
        why = why_failed(log.read_text(encoding="utf-8", errors="replace")) or f"exit status {process.returncode}"
        raise StepFailed(f"{sentence}: {why}; the whole output is in {log}")


def _watch(process: subprocess.Popen, log: Path) -> None:
    start = spoken = time.monotonic()
    while True:
        try:
            process.wait(timeout=1.0)
            return
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            say(f"... {now - start:.0f} s{_percentage(log)}")


def _percentage(log: Path) -> str:
    found = re.findall(r"\[ *(\d+)%\]", log.read_text(encoding="utf-8", errors="replace"))
    return f", {found[-1]} % compiled" if found else ""


def last_lines(log: Path) -> str:
    """What a log says about its failure: its first errors, then its end; lines are cut at 300 characters.

    Its end alone is not enough: a compiler's message stands hundreds of lines above what make, CMake, setuptools
    and pip say about it afterwards.
    """
    lines = [line[:300] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    above, end = lines[:-LAST_LINES], lines[-LAST_LINES:]
    errors = [line for line in above if ERROR.search(line)][:FIRST_ERRORS]
    return "\n".join([*errors, "...", *end] if errors else end)
