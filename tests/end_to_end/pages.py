"""The README and the pages of docs/: what they tell a reader to run, and the shell that runs it."""

import json
import os
import re
from pathlib import Path

from tests.launch import BIN, run, succeeded

ROOT = Path(__file__).parents[2]
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}



def commands(title: str) -> list[str]:
    """Of the section with this title, whichever page it is on."""
    # a line such as `# my_model.py` is no title, but the first of a Python block
    sections = [part for text in PAGES.values() for part in re.split(r"^#+ (?!\S+\.py$)", text, flags=re.M)[1:]]
    [section] = [section for section in sections if section.split("\n", 1)[0] == title]
    return commands_in(section)


def commands_in(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), f"a console block holds more than commands: {lines}"
    return [line[2:] for line in lines]


def write_python_blocks(text: str, folder: Path) -> None:
    """Python blocks name their file in the first line."""
    for name, code in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, flags=re.S):
        (folder / name).write_text(code)


def shell(command: str, folder: Path, timeout: float = 300, path: str | None = None) -> str:
    """What a reader's shell would do with that line, the environment's programs coming first on the PATH."""
    return succeeded(run(["bash", "-euc", command], cwd=folder, timeout=timeout,
                         PATH=f"{path or BIN}{os.pathsep}{os.environ['PATH']}"))


def summary(run_dir: Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())
