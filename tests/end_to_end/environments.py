"""New environments out of the one that runs the tests: with what a requirement asks for alone, and nothing downloaded."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.requirements import Requirement


def bring(requirement: str, environment: Path, without: Collection[str] = ()) -> None:
    """Put into an environment what a requirement depends on, all the way down, without what was required itself.

    Args:
        without: names of distributions that are left out.
    """
    for distribution in required_by(Requirement(requirement), set()):
        if distribution.name in without:
            continue
        for file in distribution.files:
            source = Path(os.path.normpath(file.locate()))
            target = environment / source.relative_to(sys.prefix)
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _put(source, target, environment)


def required_by(requirement: Requirement, seen: set[tuple]) -> Iterator[importlib.metadata.Distribution]:
    for text in importlib.metadata.requires(requirement.name) or []:
        needed = Requirement(text)
        extras = {"extra": ""}, *({"extra": extra} for extra in requirement.extras)
        if needed.marker and not any(needed.marker.evaluate(extra) for extra in extras):
            continue
        if (needed.name, *sorted(needed.extras)) not in seen:
            seen.add((needed.name, *sorted(needed.extras)))
            yield importlib.metadata.distribution(needed.name)
            yield from required_by(needed, seen)


def _put(source: Path, target: Path, environment: Path) -> None:
    first_line = b"#!" + sys.prefix.encode()
    content = source.read_bytes() if source.parent.name == "bin" else b""
    if content.startswith(first_line):  # a program that would start the other environment's Python
        target.write_bytes(content.replace(first_line, b"#!" + os.fsencode(environment), 1))
        shutil.copymode(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
