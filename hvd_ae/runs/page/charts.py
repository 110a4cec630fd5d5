"""Charts as inline SVG: small, without a library, with a text for those who do not see them, and numbers to hover over."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from hvd_ae.runs.page.ticks import Axis, as_number, axis_of

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 70, 14, 10, 42
_POINTS = 500  # of a curve; more would be closer than a pixel


@dataclass(frozen=True)
class Series:
    """One curve; None is a number that was not measured, and a gap. The colour is that of `colour` in the style sheet."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    colour: int = 0
    is_dashed: bool = False


def line_chart(title: str, series: Sequence[Series], x_label: str, y_label: str, is_log: bool = False,
               from_zero: bool = False, whole: bool = False, height: int = 250) -> Markup:
    """Curves over one axis, their legend above them; empty where nothing was measured.

    Args:
        whole: whether x has whole numbers only, such as epochs; else it begins at 0, as seconds do.
    """
    series = [_thinned(each) for each in series]
    series = [each for each in series if any(_is_number(y) for y in each.ys)]
    if not series:
        return Markup("")
    ys = [y for each in series for y in each.ys if _is_number(y)]
    x_axis = axis_of([x for each in series for x in each.xs], from_zero=not whole, whole=whole)
    if x_axis.low == x_axis.high:
        x_axis = Axis(x_axis.low - 0.5, x_axis.high + 0.5, False, (x_axis.low,))
    y_axis = axis_of(ys, is_log, from_zero)
    parts = [*_frame(x_axis, y_axis, x_label, y_label, height)]
    for each in series:
        parts += _curve(each, x_axis, y_axis, height)
    said = "; ".join(_in_words(each) for each in series)
    hover = {"x": x_label, "box": [_LEFT, _TOP, _WIDTH - _RIGHT, height - _BOTTOM],
             "s": [{"n": each.name, "c": each.colour,
                    "p": [[_short(_across(x, x_axis)), _short(_up(y, y_axis, height)), _short(x, 6), _short(y, 4)]
                          for x, y in zip(each.xs, each.ys) if _is_number(y)]} for each in series]}
    return _figure(title, series, svg(parts, f"{title}. {said}", height, hover))


def svg(parts: Sequence[str], text: str, height: int, hover: dict | None = None) -> Markup:
    """A drawing with its text; `hover` is what the script shows of it."""
    data = Markup(' tabindex="0" data-hover="{}"').format(json.dumps(hover, separators=(",", ":"))) if hover else ""
    return (Markup('<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}"{}>').format(_WIDTH, height, text, data)
            + Markup("".join(parts)) + Markup("</svg>"))


def legend(names: Sequence[tuple[str, int, bool]]) -> Markup:
    """Names with their colours, and whether the curve is dashed; outside of the drawing, where it hides nothing."""
    cells = [Markup('<li><i class="key c{}{}"></i>{}</li>').format(colour % 10, " dashed" if dashed else "", name)
             for name, colour, dashed in names]
    return Markup('<ul class="legend">') + Markup("").join(cells) + Markup("</ul>")


def _figure(title: str, series: Sequence[Series], drawing: Markup) -> Markup:
    keys = legend([(each.name, each.colour, each.is_dashed) for each in series]) if len(series) > 1 else Markup("")
    return Markup("<figure><figcaption>{}</figcaption>{}{}</figure>").format(title, keys, drawing)


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str, height: int):
    bottom, right = height - _BOTTOM, _WIDTH - _RIGHT
    for tick in y_axis.ticks:
        y = _up(tick, y_axis, height)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{as_number(tick)}</text>'
    yield f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>'
    for tick in x_axis.ticks:
        x = _across(tick, x_axis)
        yield f'<path class="axis" d="M{x:.1f} {bottom}v4"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{as_number(tick)}</text>'
    yield f'<text class="label" x="{(_LEFT + right) / 2}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>'
    yield (f'<text class="label" transform="translate(11 {(_TOP + bottom) / 2}) rotate(-90)" '
           f'text-anchor="middle">{escape(y_label)}</text>')


def _curve(series: Series, x_axis: Axis, y_axis: Axis, height: int) -> list[str]:
    path, pen_is_down, points = [], False, []
    for x, y in zip(series.xs, series.ys):
        if not _is_number(y) or (y_axis.is_log and y <= 0):
            pen_is_down = False
            continue
        points.append((_across(x, x_axis), _up(y, y_axis, height)))
        path.append(f"{'L' if pen_is_down else 'M'}{points[-1][0]:.1f} {points[-1][1]:.1f}")
        pen_is_down = True
    dashed = " dashed" if series.is_dashed else ""
    drawn = [f'<path class="curve c{series.colour % 10}{dashed}" d="{"".join(path)}"/>']
    if len(points) <= 30:  # each epoch is to be seen, above all where there is one
        dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
        drawn.append(f'<path class="dots c{series.colour % 10}" d="{dots}"/>')
    return drawn


def _across(x: float, axis: Axis) -> float:
    return _LEFT + axis.place(x) * (_WIDTH - _LEFT - _RIGHT)


def _up(y: float, axis: Axis, height: int) -> float:
    return height - _BOTTOM - axis.place(y) * (height - _TOP - _BOTTOM) if not axis.is_log or y > 0 else height - _BOTTOM


def _thinned(series: Series) -> Series:
    """Every so many points, the last of all among them."""
    every = -(-len(series.xs) // _POINTS)
    kept = sorted({*range(0, len(series.xs), max(1, every)), len(series.xs) - 1}) if len(series.xs) else []
    return Series(series.name, [series.xs[i] for i in kept], [series.ys[i] for i in kept], series.colour, series.is_dashed)


def _in_words(series: Series) -> str:
    measured = [y for y in series.ys if _is_number(y)]
    return (f"{series.name}: from {as_number(measured[0])} to {as_number(measured[-1])}, lowest {as_number(min(measured))}, "
            f"highest {as_number(max(measured))}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _short(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
