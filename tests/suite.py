"""`make test`: the whole suite, what waits most of the time beside what computes, and at the end which tests took longest.

    python -m tests.suite [PYTEST OPTIONS]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 10


@dataclass(frozen=True)
class Step:
    folders: tuple[str, ...]
    timeout: float  # seconds


# Two at a time, of which one leaves a core idle: one process beside commands of one or two, and jobs that wait until a limit
# is over beside those that keep all cores busy.
COMPUTES = [[Step(("end_to_end",), 1500), Step(("unit", "install"), 1500)],
            [Step(("parallel",), 1800), Step(("faults",), 1500)]]
# Jobs of stand-ins that sleep until a signal comes, and daemons that look every few seconds.
WAITS = Step(("slurm",), 1500)


def start(step: Step, options: list[str], environment: dict[str, str], output=None) -> subprocess.Popen:
    command = ["timeout", "--kill-after=60", str(step.timeout), sys.executable, "-m", "pytest", *options,
               *(f"tests/{folder}" for folder in step.folders)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)


@contextmanager
def beside(step: Step, options: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A step that runs while the context lasts, and then to its end; only then is shown what it said."""
    with tempfile.TemporaryFile("w+") as said:
        process = start(step, options, environment, said)
        try:
            yield process
            process.wait()
        finally:
            process.terminate()  # where this process is stopped itself
        said.seek(0)
        print(said.read(), flush=True)


def side_by_side(steps: list[Step], options: list[str], environment: dict[str, str]) -> int:
    """Run steps at the same time; the first exit status that is not 0."""
    first, *others = steps
    with ExitStack() as stack:
        processes = [stack.enter_context(beside(step, options, environment)) for step in others]
        processes.insert(0, start(first, options, environment))
        processes[0].wait()
    return next(filter(None, (process.returncode for process in processes)), 0)


def run(options: list[str], notes: Path) -> int:
    """Run all steps until one fails; the first exit status that is not 0."""
    environment = {**os.environ, "HVD_AE_TEST_TIMES": str(notes)}
    status = 0
    with beside(WAITS, options, environment) as waits:
        for steps in COMPUTES:
            status = status or side_by_side(steps, options, environment)
    return status or waits.returncode


def longest(rows: list[dict]) -> str:
    """The longest tests, and beside them the longest of those that ranks ran inside of one."""
    text = []
    tables = {"tests": [row for row in rows if not row["job"]],
              "tests inside the jobs of tests/parallel, as rank 0 saw them": [row for row in rows if row["job"]]}
    for title, chosen in tables.items():
        text += [f"\nThe {LONGEST} longest {title}:", "", "| seconds | CPU seconds | test |", "|---|---|---|"]
        for row in sorted(chosen, key=lambda row: -row["seconds"])[:LONGEST]:
            job = f" on {row['job']}" if row["job"] else ""
            text.append(f"| {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['test']}{job} |")
    return "\n".join(text)


def by_folder(rows: list[dict]) -> str:
    text = ["| folder | tests | seconds | CPU seconds |", "|---|---|---|---|"]
    folders = sorted({folder(row) for row in rows})
    for name in folders:
        chosen = [row for row in rows if folder(row) == name]
        text.append(f"| {name} | {len(chosen)} | {total(chosen, 'seconds')} | {total(chosen, 'cpu_seconds')} |")
    return "\n".join(text)


def folder(row: dict) -> str:
    return row["job"] and f"parallel, {row['job']}" or row["test"].split("/")[1]


def total(rows: list[dict], name: str) -> str:
    return f"{sum(row[name] for row in rows):.0f}"


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder_of_notes:
        notes = Path(folder_of_notes) / "times.jsonl"
        status = run(sys.argv[1:], notes)
        rows = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    print(f"{by_folder(rows)}\n{longest(rows)}\n\n{time.monotonic() - started:.0f} s in all", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
