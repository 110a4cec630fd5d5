"""Drawings that are no curves: where the time went, codes in a plane, a histogram; inline SVG as in `charts.py`."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from hvd_ae.runs.page.charts import legend, svg
from hvd_ae.runs.page.ticks import Axis, as_number, axis_of

_LEFT, _RIGHT = 70, 426
_COLOURS = 10  # of the style sheet; beyond them, dots become squares


def stacked_bars(title: str, names: Sequence[str], parts: Sequence[tuple[str, Sequence[float]]], x_label: str) -> Markup:
    """A bar for each name, of these parts, one behind the other.

    Args:
        parts: each with its name, and its length in each bar.
    """
    totals = np.sum([lengths for _, lengths in parts], axis=0)
    axis, row = axis_of([float(totals.max())], from_zero=True), 20 if len(names) <= 16 else 7
    bottom, drawn = 8 + row * len(names), []
    for tick in axis.ticks:
        x = _LEFT + axis.place(tick) * (_RIGHT - _LEFT)
        drawn.append(f'<path class="grid" d="M{x:.1f} 6V{bottom}"/><text class="tick" x="{x:.1f}" y="{bottom + 16}" '
                     f'text-anchor="middle">{as_number(tick)}</text>')
    for position, name in enumerate(names):
        left, y = 0.0, 8 + row * position
        if row > 10 or position % 8 == 0:
            drawn.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + min(row, 14)}" text-anchor="end">{escape(name)}</text>')
        for colour, (part, lengths) in enumerate(parts):
            x, width = (value * (_RIGHT - _LEFT) / axis.high for value in (left, float(lengths[position])))
            drawn.append(f'<rect class="c{colour}" x="{_LEFT + x:.1f}" y="{y}" width="{width:.1f}" height="{row - 3}"><title>'
                         f'{escape(name)}, {escape(part)}: {as_number(float(lengths[position]))}</title></rect>')
            left += float(lengths[position])
    drawn.append(f'<text class="label" x="{(_LEFT + _RIGHT) / 2}" y="{bottom + 34}" text-anchor="middle">{escape(x_label)}'
                 "</text>")
    said = "; ".join(f"{part}: {as_number(float(np.mean(lengths)))} on average" for part, lengths in parts)
    return Markup("<figure><figcaption>{}</figcaption>{}{}</figure>").format(
        title, legend([(part, colour, False) for colour, (part, _) in enumerate(parts)]),
        svg(drawn, f"{title}, {x_label}. {said}", bottom + 42))


def scatter(title: str, points: np.ndarray, x_label: str, y_label: str, groups: np.ndarray | None = None,
            names: Sequence[str] = (), height: int = 340) -> Markup:
    """Points in a plane, a colour for each group, of which there are at most twenty.

    Args:
        points: (count, 2).
        groups: (count,) whole numbers, which `names` may name.
    """
    axes = [_around(points[:, column]) for column in (0, 1)]
    across = _LEFT + np.array([axes[0].place(value) for value in points[:, 0]]) * (_RIGHT - _LEFT)
    up = height - 42 - np.array([axes[1].place(value) for value in points[:, 1]]) * (height - 52)
    drawn = [f'<path class="axis" d="M{_LEFT} 10V{height - 42}H{_RIGHT}"/>']
    for tick in axes[0].ticks:
        x = _LEFT + axes[0].place(tick) * (_RIGHT - _LEFT)
        drawn.append(f'<text class="tick" x="{x:.1f}" y="{height - 25}" text-anchor="middle">{as_number(tick)}</text>')
    for tick in axes[1].ticks:
        y = height - 42 - axes[1].place(tick) * (height - 52)
        drawn.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{as_number(tick)}</text>')
    drawn.append(f'<text class="label" x="{(_LEFT + _RIGHT) / 2}" y="{height - 6}" text-anchor="middle">{escape(x_label)}'
                 f'</text><text class="label" transform="translate(11 {(height - 32) / 2}) rotate(-90)" text-anchor="middle">'
                 f"{escape(y_label)}</text>")
    kinds = [] if groups is None else np.unique(groups)
    if not 0 < len(kinds) <= 2 * _COLOURS:
        kinds, groups = [None], None
    keys = []
    for colour, kind in enumerate(kinds):
        chosen = slice(None) if kind is None else groups == kind
        dots = "".join(f"M{x:.0f} {y:.0f}h.1" for x, y in zip(across[chosen], up[chosen]))
        square = " square" if colour >= _COLOURS else ""
        drawn.append(f'<path class="points c{colour % _COLOURS}{square}" d="{dots}"/>')
        keys.append((str(names[kind]) if kind is not None and kind < len(names) else str(kind), colour, colour >= _COLOURS))
    said = f"{len(points)} points" + (f" of {len(kinds)} groups" if groups is not None else "")
    return Markup("<figure><figcaption>{}</figcaption>{}{}</figure>").format(
        title, legend(keys) if groups is not None else "", svg(drawn, f"{title}. {said}", height))


def _around(values: np.ndarray) -> Axis:
    """An axis with a little room on both sides; of values without a range, one around them."""
    low, high = float(values.min()), float(values.max())
    ticks = axis_of([low, high]).ticks
    low, high = (low - 0.04 * (high - low), high + 0.04 * (high - low)) if high > low else (ticks[0], ticks[-1])
    return Axis(low, high, False, tuple(tick for tick in ticks if low <= tick <= high))


def matrix(title: str, rows: Sequence[Sequence[int]], names: Sequence[str] = ()) -> Markup:
    """A confusion matrix as a table: a row a class that was, a column a class that was said."""
    highest = max((max(row) for row in rows), default=1) or 1
    names = names or [str(number) for number in range(len(rows))]
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in names)
    lines = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, Markup("").join(
            Markup('<td style="--share:{:.0f}%">{}</td>').format(100 * count / highest, count or "") for count in row))
        for name, row in zip(names, rows))
    return Markup('<figure><figcaption>{}</figcaption><div class="wide"><table class="matrix"><tr><th>was ↓ said →</th>{}</tr>'
                  "{}</table></div></figure>").format(title, head, lines)
