"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[object], lines: Iterable[Sequence[object]]) -> str:
    """A table without a final newline; each line has as many cells as the header."""
    written = [f"| {' | '.join(map(str, cells))} |" for cells in (header, *lines)]
    return "\n".join([written[0], "|" + "---|" * len(header), *written[1:]])
